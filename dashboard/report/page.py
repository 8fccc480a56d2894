"""Report: six slides to show the run with, all of it as one file for anybody, and what others need to go on."""

from __future__ import annotations

import streamlit as st

from core.report import in_short
from core.runs import asked
from core.runs.scores import Scores
from dashboard.report import downloads, slides
from dashboard.text import md
from dashboard.widgets import current_run, glossary, page_style


def page() -> None:
    """Show the page."""
    run = current_run.opened()
    if run is None:
        return
    st.title("Show it, and let others check it", help=glossary.help_text("U", "R", "region", "never taught", "gibberish"))
    scores = Scores.read(run)
    if words := f"{asked.sentence(scores)} {in_short.beyond(scores)}".strip():
        st.markdown(md(words))
    with page_style.complaints():
        names = st.toggle(
            "Real names",
            key="names",
            bind="query-params",
            help="Otherwise those who were to be forgotten are called by pseudonyms, here and in the report. Each of "
            "them keeps theirs.",
        )
        missing = slides.gathered(str(run.path), slides.stamps(run), False, names)["missing"]
        if missing:
            st.warning("  \n".join(["**The report is not complete.**", *map(md, missing)]), icon=":material/hourglass_top:")
        slides.show(run, names)
    st.subheader("One file for anybody")
    with page_style.complaints():
        downloads.report(run, names)
    st.subheader("For others to go on")
    with page_style.complaints():
        downloads.others(run)
    st.subheader("Is it what it says?")
    downloads.check(run)


page()
