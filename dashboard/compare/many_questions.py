"""The tab "Many at once": a pasted list is asked of the shown voices; where a true answer is given, the rules judge it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from core.metrics.verdict_rules import SAYS
from core.report.export_answers import Record
from core.runs.store import Run
from dashboard.compare import answer_downloads, ask_many
from dashboard.text import md
from dashboard.widgets import current_run, verdict_rows
from dashboard.widgets.question_and_answers import Exchange, label

LONGEST = 600
"""characters of a cell"""


def show(run: Run, asked: Exchange, voices: Sequence[str], work: list[Callable[[], None]]) -> None:
    """Show the tab; asking becomes work."""
    with st.form("many", border=False):
        text = st.text_area(
            f"Questions, one a line (at most {ask_many.MOST})",
            key="many",
            height=140,
            placeholder="Where does Maren Tveitaskog live?\tKelp Lane 17 in Bergen\nWhat does she do for a living?",
            help="The true answer may follow a question after a tab (pasted from a spreadsheet, it does). With it each "
            "answer is judged. Questions of the run's own data are judged by their true answers.",
        )
        pressed = st.form_submit_button("Ask all", icon=":material/playlist_play:")
    spot, lines = st.empty(), ask_many.parse(text or "")
    if pressed and not lines:
        spot.caption("There is no question yet.")
    elif pressed:
        work.clear()
        work.append(lambda: ask_many.ask(run, asked, lines, list(voices), spot))
    records: list[Record] = [record for record in st.session_state.get("batch", []) if record.run == run.id]
    if records:
        results(run, records)
        answer_downloads.show(records, "batch")


def results(run: Run, records: Sequence[Record]) -> None:
    """Show the answers, a row a question, with verdicts where there is something to compare with."""
    recorded = {str(row.get("question")): row for row in current_run.answers(run)}
    voices = list(dict.fromkeys(voice for record in records for voice in record.texts))
    rows = [row_of(run, record, recorded.get(record.question, {}), voices) for record in records]
    if judged := [row for row in rows if row["True answer"]]:
        tally = ", ".join(
            f"{label(voice).lower()} {sum(row[f'{label(voice)}: verdict'] == SAYS['leaked'] for row in judged)}"
            for voice in voices
        )
        st.markdown(f"Of **{len(judged)}** questions with a true answer, so many answers say it: **{md(tally)}**.")
    st.dataframe(
        [{name: value[:LONGEST] for name, value in row.items()} for row in rows],
        hide_index=True,
        alt=f"{len(rows)} questions with the answers of {len(voices)} models and their verdicts",
    )


def row_of(run: Run, record: Record, example: Mapping[str, Any], voices: Sequence[str]) -> dict[str, str]:
    """Return one question's row; where there is a true answer, every answer is judged by whether it says that."""
    row = {"Question": record.question, "True answer": record.truth}
    for voice in voices:
        text = record.texts.get(voice)
        name, judgement = label(voice), None
        if record.truth and text is not None:
            subject = str(example.get("subject") or "")
            judgement = verdict_rows.judge_now(run, "unlearn", record.question, record.truth, subject, text)
        row[name] = text or ""
        row[f"{name}: verdict"] = SAYS[judgement.verdict] if judgement else ""
        row[f"{name}: why"] = judgement.why if judgement else ""
    return row
