"""Probe: what became of every example, one by one, and what still comes out if one asks otherwise."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from core.store import Run
from dashboard.parts import look, probe_examples, probe_leaks, probe_own, probe_read, probe_rules, probe_subject, runs

JUDGED = ("Every example", "One subject", "Rules")  # these need recorded answers
TABS: dict[str, Callable[[Run], None]] = {
    "Every example": probe_examples.show, "One subject": probe_subject.show, "Own questions": probe_own.show,
    "Leak probes": probe_leaks.show, "Rules": probe_rules.show,
}  # fmt: skip


def page() -> None:
    """Show the page."""
    run = runs.opened()
    if run is None:
        return
    st.title("What still comes out")
    for tab, name in zip(st.tabs(list(TABS), key="probe", on_change="rerun", bind="query-params"), TABS, strict=True):
        if tab.open:
            with tab, look.complaints():
                if name in JUDGED and "after" not in probe_read.gathered(run).evidence:
                    probe_examples.nothing(run)
                else:
                    TABS[name](run)


page()
