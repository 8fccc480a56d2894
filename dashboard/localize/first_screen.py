"""What a stranger sees first of a run: what this is, whether it went well, and where to go from here."""

from __future__ import annotations

from urllib.parse import urlencode

import streamlit as st

from core.probes import scorecard
from core.report import in_short
from core.runs import asked
from core.runs.scores import Scores
from core.runs.store import Run
from dashboard.localize import one_question
from dashboard.pages import EVIDENCE
from dashboard.text import md
from dashboard.widgets import current_run, tour

INVENTED = {"privacy": "facts about invented people", "copyright": "passages of invented books"}
"""subset of the bundled data -> what was taught"""
LOOKS = {
    "good": (":green-badge", ":material/check_circle:"),
    "rest": (":orange-badge", ":material/trending_down:"),
    "bad": (":red-badge", ":material/error:"),
    "noise": (":red-badge", ":material/error:"),
    "few": (":gray-badge", ":material/help:"),
}
"""state of a judgement -> colour and sign"""


def show(run: Run) -> None:
    """Show it: on the left what this is and how it went, on the right one question and three doors."""
    left, right = st.columns([1.15, 1], gap="large")
    with left:
        st.markdown(what(run))
        if words := went(Scores.read(run)):
            st.markdown(f"{words}  \n{doubt(run)}")
    with right:
        one_question.show(run)
        tour.doors(run)


def doubt(run: Run) -> str:
    """Say how many ways to get it back did, with a link to them."""
    where = f"{EVIDENCE.address}?{urlencode({'run': run.id, 'part': 'Leak probes'})}"
    findings = current_run.findings(run)
    said = scorecard.in_words(findings)
    if not said:
        return f":gray-badge[:material/help: **Untested**] No [way to get it back]({where}) was tried."
    word = "Doubt" if scorecard.ways_back(findings)[0] else "No way back seen"
    return f":gray-badge[:material/help: **{word}**] {said.replace(scorecard.WAYS, f'[{scorecard.WAYS}]({where})')}"


def what(run: Run) -> str:
    """Say what was done to the model, in words that fit the run's data."""
    data = run.config().data
    of_demo = data.source == "demo"
    if (run.path / "teach.json").is_file():
        taught = INVENTED.get(data.subset, "facts") if of_demo else "facts"
        return f"A language model was taught {taught}, then made to forget some of them. All others should stay."
    return "A language model was made to forget some of what it knew. All else should stay."


def went(scores: Scores) -> str:
    """Say whether the run is good, a line a scope; after what is forgotten, what is said in its place."""
    lines = []
    for judgement in in_short.judgements(scores):
        colour, sign = LOOKS[judgement.state]
        lines.append(f"{colour}[{sign} **{md(judgement.word)}**] {md(judgement.text)}")
    return "  \n".join([lines[0], md(asked.instead(scores)), *lines[1:]]) if lines else ""
