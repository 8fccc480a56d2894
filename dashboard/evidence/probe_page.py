"""Probe: what became of every example, one by one, and what still comes out if one asks otherwise."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from core.runs import asked
from core.runs.scores import Scores
from core.runs.store import Run
from dashboard.evidence import examples, leak_probes, one_subject, own_questions, verdict_rules
from dashboard.text import md
from dashboard.widgets import current_run, page_style, verdict_rows

JUDGED = ("Every example", "One subject", "Rules")  # these need recorded answers
TABS: dict[str, Callable[[Run], None]] = {
    "Every example": examples.show,
    "One subject": one_subject.show,
    "Own questions": own_questions.show,
    "Leak probes": leak_probes.show,
    "Rules": verdict_rules.show,
}


def page() -> None:
    """Show the page."""
    run = current_run.opened()
    if run is None:
        return
    st.title("What still comes out")
    if words := asked.sentence(Scores.read(run)):
        st.markdown(md(words))
    for tab, name in zip(st.tabs(list(TABS), key="probe", on_change="rerun", bind="query-params"), TABS, strict=True):
        if tab.open:
            with tab, page_style.complaints():
                if name in JUDGED and "after" not in verdict_rows.gathered(run).answers:
                    examples.nothing(run)
                else:
                    TABS[name](run)


page()
