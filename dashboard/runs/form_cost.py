"""“Measure first”: what the run in the form would cost, measured on real steps by a process of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import streamlit as st

from core.config.run_config import RunConfig
from core.data.corpus import Corpus
from core.jobs import estimate
from core.runs import store
from core.runs.store import Run
from core.util import access
from core.util.safe_read import mapping
from dashboard.text import duration, md
from dashboard.widgets import cancel_button, page_style, work_beside

STAGES = {
    "load": "Load the model",
    "teach": "Teach",
    "preflight": "Check that it knows",
    "localize": "Estimate where",
    "unlearn": "Forget",
    "retrain": "Teach again, without U",
    "reference": "Ask that model",
    "answers": "Ask it again",
    "evaluate": "Measure",
}
HELP = (
    "Loads the model, asks it some of the questions untaught, makes a few real steps of teaching and of unlearning, "
    "and works out from them how long everything takes. Waits if a run is using the device."
)


def offer(config: RunConfig, corpus: Corpus | None) -> None:
    """Offer the measurement of a configuration, and show it as it goes on or what it found."""
    job_folder = estimate.job_folder(config, store.runs_folder(), corpus.fingerprint() if corpus else "")
    cancel = partial(cancel_button.show, job_folder, "new.cost.cancel", "Cancel measuring", width="stretch")
    if not work_beside.watch(job_folder, _how_far, cancel):
        st.fragment(_ended)(job_folder, config)


def _ended(job_folder: Run, config: RunConfig) -> None:
    """Show what was found, or how that failed, and what starts it."""
    state = str(job_folder.status().get("state"))
    measured = estimate.result(job_folder) if state == "done" else None
    work_beside.failed(job_folder)
    if state == "cancelled":
        st.caption("The measurement was cancelled.")
    if access.read_only():
        if measured:
            _result(measured, config)
        return
    label = "Measure again" if measured or state in ("failed", "cancelled") else "Measure first"
    if measured:
        _result(measured, config)
    if st.button(label, icon=":material/timer:", width="stretch", help=HELP, type="tertiary" if measured else "secondary"):
        with page_style.complaints():
            estimate.start(job_folder, config)
            st.rerun()


def _how_far(status: Mapping[str, Any]) -> tuple[float, str]:
    """Return how far the measurement is, 0 … 1, and what it is at."""
    done = sum(stage.get("state") == "done" for stage in mapping(status, "stages").values())
    what = estimate.STEPS.get(str(status.get("stage")), "loading the model")
    return min(1.0, done / len(estimate.STEPS)), f"Measuring, {done} of {len(estimate.STEPS)}: {what} …"


def _result(measured: Mapping[str, Any], config: RunConfig) -> None:
    total = measured["total"]
    st.markdown(f"Measured: the whole run takes **{span(total['low'], total['high'])}**.")
    st.markdown(knows(measured["knows"], config))
    rows = [
        {
            "stage": STAGES.get(cost["name"], md(cost["name"])),
            "time": "re-used" if cost["reused"] else span(cost["low"], cost["high"]),
        }
        for cost in measured["stages"]
    ]
    st.table(rows, border="horizontal", hide_index=True, alt="Predicted time of each stage")
    with st.expander("How this was measured"):
        for cost in measured["stages"]:
            st.caption(f"**{STAGES.get(cost['name'], md(cost['name']))}**: {md(cost['how'])}.")
        for note in measured["notes"]:
            st.caption(f":material/info: {md(note)}")
        st.caption(
            f"On {md(measured['device'])} as {md(measured['dtype'])}, peak memory "
            f"{measured['peak_memory_mb'] / 1000:.1f} GB, in {duration(measured['seconds'])}, "
            f"on {time.strftime('%d %b %H:%M', time.localtime(measured['measured']))}. "
            "Ranges go from the faster to the slower of the timed steps, and where a stage may end early from its earliest "
            "to its latest end."
        )


def knows(share: Mapping[str, float], config: RunConfig) -> str:
    """Say what the model knows before teaching, and what follows from it."""
    u, r = share["unlearn"], share["retention"]
    fact = (
        f"As it is, this model predicts **{u:.0f} %** of the words of the answers to forget, **{r:.0f} %** of those to keep"
    )
    if config.teach.from_run:
        return f"{fact}."
    if u >= 90:
        advice = "it knows them already, so teaching can be switched off" if config.teach.enabled else "it knows them"
        return f"{fact}: {advice}."
    if config.teach.enabled:
        return f"{fact}: it has to be taught, and this run does that."
    return f"{fact}: too little to forget. Switch teaching on, or choose a model that knows the data."


def span(low: float, high: float) -> str:
    """Write a range of seconds; one value where both ends read the same."""
    first, last = duration(low), duration(high)
    if first == last:
        return last
    if low < 60 and high < 60:
        return f"{first.removesuffix(' s')} to {last}"
    return f"{first} to {last}"
