"""Report: six slides to show the run with, all of it as one file for anybody, and what others need to go on."""

from __future__ import annotations

import streamlit as st

from dashboard.parts import look, present, runs, takeaway
from dashboard.parts.text import md


def page() -> None:
    """Show the page."""
    run = runs.opened()
    if run is None:
        return
    st.title("Show it, and let others check it")
    with look.complaints():
        missing = present.gathered(str(run.path), present.stamps(run), False)["missing"]
        if missing:
            st.warning("  \n".join(["**The report is not complete.**", *map(md, missing)]), icon=":material/hourglass_top:")
        present.show(run)
    st.subheader("One file for anybody")
    with look.complaints():
        takeaway.report(run)
    st.subheader("For others to go on")
    with look.complaints():
        takeaway.others(run)
    st.subheader("Is it what it says?")
    takeaway.check(run)


page()
