"""A list of questions, each asked of several voices: read from lines, answered batch by batch."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.report.export_answers import Record
from core.runs import askable
from core.runs.store import Run
from core.serve import client
from core.util.errors import UserError
from dashboard.text import duration, md
from dashboard.widgets import current_run, page_style, question_and_answers
from dashboard.widgets.question_and_answers import LONGEST_QUESTION, Exchange, label

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

MOST = 200
"""questions at once"""


def parse(text: str) -> list[tuple[str, str]]:
    """Return (question, true answer) of each line that has a question."""
    pairs = [line.partition("\t") for line in text.splitlines()]
    return [(q.strip()[:LONGEST_QUESTION], a.strip()[:LONGEST_QUESTION]) for q, _, a in pairs if q.strip()][:MOST]


def ask(run: Run, asked: Exchange, lines: Sequence[tuple[str, str]], voices: list[str], spot: DeltaGenerator) -> None:
    """Ask all, keep what is complete so far, then show the page again. What interrupts this script stops the work."""
    with spot.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, "Waiting for the model …")
        st.button("Stop", icon=":material/stop:", key="stop_many")
    texts = [dict[str, str]() for _ in lines]
    hashes: dict[str, str] = {}
    total, done, decoding = 0, 0, asked.decoding
    recorded = {str(row.get("question")): row for row in current_run.answers(run)}

    def keep() -> None:
        st.session_state["batch"] = [
            Record(
                question,
                run.id,
                {v: answers[v] for v in voices if v in answers},
                truth or str(recorded.get(question, {}).get("truth", "")),
                hashes,
                decoding.values(),
                dict.fromkeys(answers, "asked"),
                tags=question_and_answers.tags_of(recorded.get(question, {})),
            )
            for (question, truth), answers in zip(lines, texts, strict=True)
        ]

    try:
        askable.askable(run)
        replies = client.ask(run, [question for question, _ in lines], voices, decoding.answers, decoding.seed)
        # Streamlit ends a script by an exception in it: closing the line then is what stops the model.
        with contextlib.closing(replies):
            for reply in replies:
                if reply["kind"] == "start":
                    hashes, total = dict(reply["hashes"]), len(reply["hashes"]) * len(lines)
                elif reply["kind"] == "voice_error":
                    st.warning(f"{md(label(str(reply['voice'])))}: {md(reply['what'])}")
                done += gather(texts, voices, reply)
                if reply["kind"] == "waiting" and not done:
                    bar.progress(0.0, f"Waiting for the model: {duration(reply['seconds'])}")
                elif total:
                    keep()
                    bar.progress(done / total, f"{done} of {total} answers")
    except UserError as error:
        page_style.complain(error)
        return
    st.rerun()


def gather(texts: list[dict[str, str]], voices: Sequence[str], reply: dict[str, Any]) -> int:
    """Put the pieces of a reply to their answers; return how many answers they complete."""
    finished = 0
    for piece in reply.get("pieces", ()):
        question, voice = divmod(piece["index"], len(voices))
        text = texts[question].get(voices[voice], "") + piece["text"]
        # A piece may begin or end within a phrase: only the ends of the whole answer are trimmed.
        texts[question][voices[voice]] = text.rstrip() if piece["last"] else text.lstrip()
        finished += bool(piece["last"])
    return finished
