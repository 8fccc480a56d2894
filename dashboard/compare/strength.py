"""The tab "Strength": the dial between before and after, its answers, and both scopes' success along it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.runs import askable
from core.runs.store import Run
from core.serve import client
from core.util.errors import UserError
from dashboard.charts import strength_dial as charts
from dashboard.charts import tokens as token_charts
from dashboard.compare import panes, token_probabilities
from dashboard.text import duration
from dashboard.widgets import page_style
from dashboard.widgets.question_and_answers import Exchange

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

Work = list[Callable[[], None]]
SAMPLE = 12
"""questions of each scope that the chart is measured on"""


def show(run: Run, asked: Exchange, voices: Sequence[str], work: Work) -> dict[str, DeltaGenerator]:
    """Show the tab; return the place of the blend's answer, where the dial stands between or beyond the ends."""
    st.markdown("How much of the unlearning is applied: 0 % is before, 100 % is after, more goes beyond what was trained.")
    percent = st.slider("Strength", 0, 150, 100, 5, format="%d %%", key="strength", bind="query-params")
    percent = min(max(int(percent), 0), 150)
    spots = {}
    voice = {0: "before", 100: "after"}.get(percent, f"blend:{percent}")
    if voice in voices:
        st.caption(f"At {percent} % the answer is the one in the pane above.")
    else:
        spots[voice] = panes.box(asked, run, voice, "differences")
        chance(run, asked, voice, work)
    st.caption(quadratic(run))
    along(run, asked, percent, work)
    return spots


def chance(run: Run, asked: Exchange, voice: str, work: Work) -> None:
    """Say how probable the true answer is for a blend, measured after it has answered."""
    if asked.truth and asked.finished(voice):
        if voice not in asked.scores:
            work.append(lambda: token_probabilities.score(run, asked, [voice]))
        elif asked.scores[voice]:
            total = sum(token["logprob"] for token in asked.scores[voice])
            each = token_charts.percent(math.exp(total / len(asked.scores[voice])))
            st.caption(f"The true answer has log-probability {total:.1f} nats here: {each} for each word on average.")


def quadratic(run: Run) -> str:
    """Say whether the change is straight along the dial: where both factors of a module moved, their product is not."""
    region = run.json("region.json") or {}
    modules = [str(name).rsplit(".lora_", 1)[0] for name in region.get("tensors", [])]
    both = sum(modules.count(module) == 2 for module in set(modules))
    text = "The adapter's factors A and B are interpolated. Each changes a weight by their product B·A"
    if both:
        return (
            f"{text}: in {both} of {len(set(modules))} modules both factors moved, so there the change is quadratic "
            "in the strength."
        )
    return f"{text}: in no module did both factors move, so the change is proportional to the strength."


def along(run: Run, asked: Exchange, percent: int, work: Work) -> None:
    """Show both scopes' success along the dial, or offer to measure it."""
    rows = asked.dial.get("rows", [])
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        name = "Measure again" if rows else "Measure the whole dial"
        pressed = st.button(name, icon=":material/show_chart:", key="dial")
        spot = st.empty()
    if rows:
        size = asked.dial.get("sample", {})
        spot.caption(
            f"Measured on {size.get('unlearn')} train questions to forget and {size.get('retention')} to keep; "
            f"{len(rows)} strengths."
        )
        draw(run, rows, percent, size)
    else:
        spot.caption("Both scopes' success at 0, 25, … 150 %, on a fixed sample of the train questions.")
    if pressed:
        # The model answers one at a time: what was pressed comes before what would be asked by the way.
        work.clear()
        work.append(lambda: measure(run, asked, spot))


def draw(run: Run, rows: list[dict[str, Any]], percent: int, sample: dict[str, Any]) -> None:
    """Draw what was measured."""
    palette = page_style.palette()
    words = "; ".join(f"{r['strength']:g} %: unlearn {r['unlearn']:.0f}, retention {r['retention']:.0f}" for r in rows)
    file = "none: computed now from the adapters before and after, interpolated"
    success = "100 − answer-token accuracy on the unlearn scope; the accuracy on the retention scope"
    size = f"{sample.get('unlearn')} unlearn and {sample.get('retention')} retention questions (train)"
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Success of both scopes**")
        page_style.chart(
            charts.scopes(rows, percent, palette),
            f"Unlearn and retention success in percent by strength. {words}",
            "dial_scopes",
            facts=page_style.where(run, "unlearn", file, success, size),
        )
    if any(row.get("logprob") is not None for row in rows):
        with right:
            st.markdown("**The true answer of this question**")
            values = "; ".join(f"{row['strength']:g} %: {row['logprob']:.1f}" for row in rows if row["logprob"] is not None)
            page_style.chart(
                charts.truth(rows, percent, palette),
                f"Log-probability of the true answer by strength. {values}",
                "dial_truth",
                facts=page_style.where(run, "unlearn", file, "log p(true answer), in nats", "this question"),
            )


def measure(run: Run, asked: Exchange, spot: DeltaGenerator) -> None:
    """Measure along the dial, then show the page again. What interrupts this script stops the work."""
    with spot.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, "Waiting for the model …")
        st.button("Stop", icon=":material/stop:", key="stop_dial")
    asked.dial = {"rows": [], "sample": {}}
    try:
        askable.unlearned(run)
        with contextlib.closing(client.dial(run, asked.question, asked.truth, sample=SAMPLE)) as replies:
            for reply in replies:
                if reply["kind"] == "waiting" and not asked.dial["rows"]:
                    bar.progress(0.0, f"Waiting for the model: {duration(reply['seconds'])}")
                elif reply["kind"] == "start":
                    asked.dial["sample"] = reply["sample"]
                elif reply["kind"] == "row":
                    asked.dial["rows"].append(reply)
                    bar.progress(reply["done"] / reply["total"], f"{reply['done']} of {reply['total']} strengths")
                else:
                    bar.progress(len(asked.dial["rows"]) / len(client.STRENGTHS))
    except UserError as error:
        page_style.complain(error)
        return
    st.rerun()
