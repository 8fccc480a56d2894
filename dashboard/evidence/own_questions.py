"""The tab "Own questions": a pasted list is asked before and after; where an expected answer is given, the rules judge
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from core.metrics import verdicts
from core.metrics.verdict_rules import Rules
from core.report.export_answers import Record
from core.runs import askable
from core.runs.store import Run
from core.util.errors import UserError
from dashboard.text import md, shorten
from dashboard.widgets import answer_downloads, ask_many, current_run, question_and_answers, verdict_rows
from dashboard.widgets.question_and_answers import Exchange, label

VOICES = ("before", "after")
SAYS = {"leaked": "says it", "degenerate": "noise", "refused": "refuses", "forgotten": "does not say it"}
LONGEST = 600
"""characters of a cell"""


def show(run: Run) -> None:
    """Show the tab; what has to be asked is asked last."""
    try:
        askable.unlearned(run)
    except UserError as error:  # nothing is wrong: this run cannot be asked, or not yet
        st.info(f"{md(error.what)} {md(error.fix)}")
        return
    work: list[Callable[[], None]] = []
    with st.form("probe.own", border=False):
        text = st.text_area(
            f"Questions, one a line (at most {ask_many.MOST})",
            key="probe.many",
            height=150,
            placeholder="Where does Maren Tveitaskog live?\tKelp Lane 17 in Bergen\nWhat does she do for a living?",
            help="The expected answer may follow a question after a tab (pasted from a spreadsheet, it does). With it "
            "each answer is "
            "judged: does it say what is expected? Questions of the run's own data are judged by their true answers.",
        )
        never = st.checkbox(
            "Never taught too", key="probe.never", help="The original model: what it says as well was not remembered."
        )
        pressed = st.form_submit_button("Ask all", icon=":material/playlist_play:")
    spot, lines = st.empty(), ask_many.parse(text or "")
    if pressed and not lines:
        spot.caption("There is no question yet.")
    elif pressed:
        own = question_and_answers.decoding_of(run.config())
        asked = Exchange("", run.id, own, own)
        voices = [*VOICES, *(["never"] if never else [])]
        work.append(lambda: ask_many.ask(run, asked, lines, voices, spot))
    records = [record for record in st.session_state.get("batch", []) if record.run == run.id]
    if records:
        results(run, records)
    for task in work:
        task()


def results(run: Run, records: Sequence[Record]) -> None:
    """Show the answers with verdicts where there is something to compare with."""
    rules = verdict_rows.rules()
    recorded = {str(row.get("question")): row for row in current_run.answers(run)}
    voices = list(dict.fromkeys(voice for record in records for voice in record.texts))
    rows = [row_of(record, recorded.get(record.question, {}), voices, rules) for record in records]
    judged = [row for row in rows if row["Expected"]]
    if judged:
        tally = ", ".join(
            f"{label(voice).lower()} {sum(row[f'{label(voice)}: verdict'] == SAYS['leaked'] for row in judged)}"
            for voice in voices
        )
        st.markdown(f"Of **{len(judged)}** questions with an expected answer, so many answers say it: **{md(tally)}**.")
    st.dataframe(
        [{name: str(value)[:LONGEST] for name, value in row.items()} for row in rows],
        hide_index=True,
        alt=f"{len(rows)} own questions with the answers of {len(voices)} models and their verdicts",
    )
    answer_downloads.show(records, "batch")
    for record in records[:12]:
        verdict_rows.compare_link(run, record.question, md(shorten(record.question, 100)))


def row_of(record: Record, example: Mapping[str, Any], voices: Sequence[str], rules: Rules) -> dict[str, str]:
    """Return one question's row; every answer is judged by whether it says what is expected."""
    row = {"Question": record.question, "Expected": record.truth}
    for voice in voices:
        text = record.texts.get(voice)
        name = label(voice)
        row[name] = text or ""
        if record.truth:
            judgement = (
                None
                if text is None
                else verdicts.judge(
                    verdicts.measure("unlearn", record.question, record.truth, str(example.get("subject") or ""), text),
                    rules,
                )
            )
            row[f"{name}: verdict"] = SAYS[judgement.verdict] if judgement else ""
            row[f"{name}: why"] = judgement.why if judgement else ""
        else:
            row[f"{name}: verdict"] = row[f"{name}: why"] = ""
    return row
