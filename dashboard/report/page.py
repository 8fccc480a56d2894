"""Report: six slides to show the run with, all of it as one file for anybody, and what others need to go on."""

from __future__ import annotations

import streamlit as st

from dashboard.report import downloads, slides
from dashboard.text import md
from dashboard.widgets import current_run, look


def page() -> None:
    """Show the page."""
    run = current_run.opened()
    if run is None:
        return
    st.title("Show it, and let others check it")
    with look.complaints():
        missing = slides.gathered(str(run.path), slides.stamps(run), False)["missing"]
        if missing:
            st.warning("  \n".join(["**The report is not complete.**", *map(md, missing)]), icon=":material/hourglass_top:")
        slides.show(run)
    st.subheader("One file for anybody")
    with look.complaints():
        downloads.report(run)
    st.subheader("For others to go on")
    with look.complaints():
        downloads.others(run)
    st.subheader("Is it what it says?")
    downloads.check(run)


page()
