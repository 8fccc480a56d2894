"""Evidence: what became of every example, what still comes out if one asks otherwise, and what the numbers say."""

from __future__ import annotations

import streamlit as st

from core.report import in_short
from core.runs import asked
from core.runs.scores import Scores
from dashboard.evidence import examples, leak_probes, one_subject, scores, verdict_rules
from dashboard.text import md
from dashboard.widgets import address, current_run, page_style

# What a link calls a part -> what shows it; of a run, only the open one is computed.
PARTS = {
    "Every example": examples.show,
    "One subject": one_subject.show,
    "Leak probes": leak_probes.show,
    "Scores": scores.show,
    "Trade-off": scores.trade_off,
    "Steps": scores.steps,
    "Cost": scores.costs,
    "Metrics": scores.metrics,
    "Rules": verdict_rules.show,
}


def page() -> None:
    """Show the page."""
    run = current_run.opened()
    if run is None:
        return
    st.title("What is gone, and what is left")
    part = address.part(
        "part",
        PARTS,
        lambda: st.pills("Contents", list(PARTS), key="part", required=True, label_visibility="collapsed", wrap=True),
    )
    measured = Scores.read(run)
    # Of every example the sentence counts what the filter lets through.
    words = "" if part == next(iter(PARTS)) else asked.sentence(measured)
    if said := f"{words} {in_short.beyond(measured)}".strip():
        st.markdown(md(said))
    with page_style.complaints():
        PARTS[part](run)


page()
