"""The tab "Many at once": a list of pasted questions, each asked of the shown voices, as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from core.report.export_answers import Record
from core.runs.store import Run
from dashboard.widgets import answer_downloads, ask_many
from dashboard.widgets.question_and_answers import Exchange, label

if TYPE_CHECKING:
    pass


def show(run: Run, asked: Exchange, voices: Sequence[str], work: list[Callable[[], None]]) -> None:
    """Show the tab; asking becomes work."""
    with st.form("many", border=False):
        text = st.text_area(
            f"Questions, one a line (at most {ask_many.MOST})",
            key="many",
            height=140,
            placeholder="Where does Maren Tveitaskog live?\nWhat does she do for a living?",
            help="A true answer may follow each question after a tab; it is only exported with the answers.",
        )
        pressed = st.form_submit_button("Ask all", icon=":material/playlist_play:")
    spot = st.empty()
    lines = ask_many.parse(text or "")
    if pressed and not lines:
        spot.caption("There is no question yet.")
    elif pressed:
        work.clear()
        work.append(lambda: ask_many.ask(run, asked, lines, list(voices), spot))
    records: list[Record] = [record for record in st.session_state.get("batch", []) if record.run == run.id]
    if records:
        table(records)
        answer_downloads.show(records, "batch")


def table(records: Sequence[Record]) -> None:
    """Show the answers, a row a question."""
    voices = list(dict.fromkeys(voice for record in records for voice in record.texts))
    rows = [{"Question": r.question, **{label(v): r.texts.get(v, "") for v in voices}} for r in records]
    st.dataframe(rows, hide_index=True, alt=f"{len(rows)} questions with the answers of {len(voices)} models")
