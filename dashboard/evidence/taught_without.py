"""The model that was taught all but U, for a run that was made without it: offered beside its scores, made, and watched."""

from __future__ import annotations

import streamlit as st

from core.jobs import lifecycle, reference
from core.runs import layout
from core.runs.store import Run
from core.util.errors import UserError
from core.util.progress import duration
from core.util.safe_read import number
from dashboard.text import md
from dashboard.widgets import cancel_button, current_run, glossary, page_style

EVERY = 1.5
"""seconds between two looks"""
LABEL = "Teach a model without U as well"


def show(run: Run) -> None:
    """Offer it where the run lacks it and can have it, or show how far it is."""
    if layout.under_way("reference", run):
        st.fragment(_going_on, run_every=EVERY)(run)
    elif not reference.exists(run):
        _offer(run)


def _offer(run: Run) -> None:
    try:
        reference.check(run)
    except UserError:  # nothing is wrong: this run cannot have one, as one that taught nothing
        return
    work = layout.job_folder("reference", run)
    if work.path.is_dir() and (status := work.status()).get("state") == "failed":
        page_style.complain(UserError(str(status.get("error") or "It failed."), str(status.get("fix") or "Start it again.")))
    st.caption(
        f"{glossary.link('retrained', 'What the model would be had it never seen U')} is not known of this run. "
        "It takes about as long as teaching did. The scores are then computed anew."
    )
    if st.button(LABEL, icon=":material/school:", key="reference.start"):
        with page_style.complaints():
            reference.start(run)
            st.rerun()


def _going_on(run: Run) -> None:
    """Show how far it is; draws the whole page once it has ended."""
    lifecycle.reap()
    work = layout.job_folder("reference", run)
    if work.status().get("state") not in current_run.ALIVE:
        st.rerun()
    last = next((event for event in reversed(work.events()) if event.get("kind") == "progress"), {})
    done, total, left = (number(last.get(name)) for name in ("done", "total", "left"))
    words = "It is queued, or the model is loaded."
    if done is not None and total:
        words = f"{done:.0f} of {total:.0f} {last.get('unit') or ''}" + (
            f", {duration(left)} left" if left is not None else ""
        )
    st.progress(min(1.0, (done or 0.0) / (total or 1.0)), text=md(f"Teaching a model without U: {words}"))
    cancel_button.show(work, "reference.cancel", help="You can start it again later.")
