"""What a stranger sees first of a run: what this is, whether it went well, and where to go from here."""

from __future__ import annotations

import streamlit as st

from core.report import in_short
from core.runs import asked
from core.runs.scores import Scores
from core.runs.store import Run
from dashboard.localize import one_question
from dashboard.text import md
from dashboard.widgets import tour

INVENTED = {"privacy": "facts about invented people", "copyright": "passages of invented books"}
"""subset of the bundled data -> what was taught"""
LOOKS = {
    "good": (":green-badge", ":material/check_circle:"),
    "bad": (":red-badge", ":material/error:"),
    "noise": (":red-badge", ":material/error:"),
    "few": (":gray-badge", ":material/help:"),
}
"""state of a judgement -> colour and sign"""


def show(run: Run) -> None:
    """Show it: on the left what this is and how it went, on the right one question; below both three doors."""
    left, right = st.columns([1.15, 1], gap="large")
    with left:
        st.markdown(what(run))
        if words := went(Scores.read(run)):
            st.markdown(words)
    with right:
        one_question.show(run)
    tour.doors(run)


def what(run: Run) -> str:
    """Say what was done to the model, in words that fit the run's data."""
    data = run.config().data
    of_demo = data.source == "demo"
    if (run.path / "teach.json").is_file():
        taught = INVENTED.get(data.subset, "facts") if of_demo else "facts"
        return f"A language model was taught {taught}, then made to forget some of them. All others should stay."
    return "A language model was made to forget some of what it knew. All else should stay."


def went(scores: Scores) -> str:
    """Say whether the run is good, a line a scope, and below what is said in the place of what is forgotten."""
    lines = []
    for judgement in in_short.judgements(scores):
        colour, sign = LOOKS[judgement.state]
        lines.append(f"{colour}[{sign} **{md(judgement.word)}**] {md(judgement.text)}")
    return "  \n".join([*lines, md(asked.instead(scores))]) if lines else ""
