"""Whether before says what it was taught: where it does not, answers show nothing about forgetting, and the page says so.

Where it does, in answer to a question of the visitor's own, the page says which fact, and what after says of it.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from core.data.corpus import SCOPES
from core.metrics import confabulated, verdict_words
from core.runs.asked import STILL_SAID
from core.runs.store import Run
from dashboard.text import md, shorten
from dashboard.widgets import question_and_answers, scope_names, verdict_rows
from dashboard.widgets.question_and_answers import Exchange

UNKNOWN = "Before says no fact that it was taught."
NOTHING = "So these answers show nothing about forgetting."

ONLY_ASKED = ("free", "untaught")
"""kinds of question that nobody was taught"""
NAME = re.compile(r"(?<=[\w,’'] )[A-Z][\w-]+")
"""a capitalised word that does not begin its sentence"""
INSTEAD = {"leaked": "says it too", "refused": "declines", "degenerate": "answers with gibberish"}
"""verdict by a fact that before tells -> what after does"""
LOOKED_AT = 200
"""true answers that an own question is compared with, the nearest first"""
Rows = Sequence[Mapping[str, Any]]


def show(run: Run, asked: Exchange, rows: Rows, choose: Callable[[str], None]) -> None:
    """Say which fact before and after tell of those that were taught; where before tells none, offer the nearest question.

    choose: is called with that question.
    """
    if not about_data(asked) or not asked.finished("before"):
        return
    if fact := told(run, asked, rows):
        if not asked.truth and asked.finished("after"):
            with st.container(border=True, key="known"):
                st.markdown(in_words(fact, told(run, asked, rows, "after"), instead(run, asked, rows, fact)))
        return
    near = nearest(asked.question, rows, known(run))
    with st.container(border=True, key="unknown"):
        st.markdown(f":material/info: **{UNKNOWN}** {NOTHING}")
        if near and near != asked.question:
            st.button(
                f"Ask the nearest question it was taught: “{md(shorten(near, 110))}”",
                key="nearest",
                icon=":material/arrow_forward:",
                on_click=choose,
                args=(near,),
            )


def in_words(before: Exchange, after: Exchange | None, instead: str) -> str:
    """Say which taught fact before tells, and which one after; None: it tells none, but does what `instead` says."""
    said = f":material/info: **Before** says a taught fact ({_fact(before)})."
    if after is None:
        return f"{said} **After** {instead}."
    return f"{said} **After** says {'it too' if after.truth == before.truth else f'another one ({_fact(after)})'}."


def instead(run: Run, asked: Exchange, rows: Rows, fact: Exchange) -> str:
    """Say what after does that tells no taught fact where before tells one: what it makes up, or what the rules call it."""
    text, subject = asked.answers["after"].text, _subject(rows, fact.example)
    if not text.strip():
        return "says nothing"
    judged = verdict_rows.judge_now(run, "unlearn", asked.question, fact.truth, subject, text)
    if judged.verdict in INSTEAD:
        return INSTEAD[judged.verdict]
    true = [str(row.get("truth", "")) for row in rows if str(row.get("subject") or "") == subject]
    made_up = sorted(confabulated.invented(text, asked.question, true, subject))
    return f"makes something up ({md(', '.join(made_up))})" if made_up else "says something else"


def _subject(rows: Rows, example: str) -> str:
    return next((str(row.get("subject") or "") for row in rows if row.get("example") == example), "")


def _fact(told: Exchange) -> str:
    return f"{scope_names.scope_name(told.tags[0])}: “{md(told.truth.rstrip('.'))}”"


def about_data(asked: Exchange) -> bool:
    """Say whether a question may be about what was taught: it is not known to be about anything else."""
    return not asked.tags or asked.tags[0] in SCOPES


def told(run: Run, asked: Exchange, rows: Rows, voice: str = "before") -> Exchange | None:
    """Return what a voice's answer tells, as the exchange with the true answer to judge by; None where it tells no fact.

    It is the one that was asked for where that is known, else the nearest one that it tells and that is what it is about.
    """
    if asked.truth:
        judged = verdict_rows.judged(run, asked, voice)
        return asked if judged is None or judged.verdict in STILL_SAID.values() else None
    text, facts, lines = asked.answers[voice].text, dict[tuple[str, str], Mapping[str, Any]](), taught(rows)
    for row in by_nearness(asked.question, lines):
        facts.setdefault((str(row.get("truth", "")), str(row.get("subject") or "")), row)
    for row in about(f"{asked.question} {text}", list(facts.values()), lines):
        truth, subject = str(row.get("truth", "")), str(row.get("subject") or "")
        if verdict_rows.judge_now(run, "unlearn", asked.question, truth, subject, text).verdict == "leaked":
            tags, example = question_and_answers.tags_of(row), str(row.get("example", ""))
            return dataclasses.replace(asked, truth=truth, tags=tags, example=example)
    return None


def about(text: str, rows: Rows, every: Rows) -> list[Mapping[str, Any]]:
    """Return the taught facts that a question with its answer can be about: of nobody else, and what they say of whom.

    A town where somebody spends the holidays is not the fact that the same one was born there: of what is said of one
    person those lines count that share at least half as many words with the text as the one that shares most, and those
    that it says in full. every: all taught lines.
    """
    words = _words_by_whom(every) if NAME.search(text) else {}
    shared = [(len(_shared(text, row)), row) for row in rows if not of_another(text, row, words)]
    most = Counter[str]()
    for count, row in shared:
        most[_whom(row)] = max(most[_whom(row)], count)
    said = verdict_words.fold(text)
    return [row for count, row in shared if 2 * count >= most[_whom(row)] or _whole(row) in said]


def _whom(row: Mapping[str, Any]) -> str:
    """Return whom a line is about; without subjects, what its question names."""
    return str(row.get("subject") or "") or " ".join(NAME.findall(str(row.get("question", ""))))


def _whole(row: Mapping[str, Any]) -> str:
    return verdict_words.fold(str(row.get("truth", ""))).rstrip(".") or "\0"


def of_another(text: str, row: Mapping[str, Any], words: Mapping[str, set[str]]) -> bool:
    """Say whether a text names somebody whom nothing taught about a line's subject names, and not who the line is about:
    a number that is somebody else's is not that fact. A text that names nobody may be about anybody.

    words: whom a line is about -> all words that were taught of them.
    """
    named = {token for word in NAME.findall(text) for token in verdict_words.tokens(word)}
    own = set(verdict_words.tokens(_whom(row))) - verdict_words.STOP
    if not named or named & own:
        return False
    return not named <= words.get(_whom(row), set())


def _words_by_whom(rows: Rows) -> dict[str, set[str]]:
    words: dict[str, set[str]] = {}
    for row in rows:
        mine = words.setdefault(_whom(row), set())
        for name in ("question", "truth"):
            mine.update(verdict_words.tokens(str(row.get(name, ""))))
    return words


def _shared(text: str, row: Mapping[str, Any]) -> set[str]:
    """Return what a text says of what a taught fact is about: born, holiday, and not the names or the fact itself."""
    question, truth, subject = (str(row.get(name) or "") for name in ("question", "truth", "subject"))
    facts = " ".join(fact.shown for fact in verdict_words.understood(question, truth, subject).facts)
    rest = f"{facts} {subject} {' '.join(NAME.findall(question))}"
    shared = verdict_words.content(verdict_words.tokens(text)) & verdict_words.content(
        verdict_words.tokens(f"{question} {truth}")
    )
    return shared - verdict_words.content(verdict_words.tokens(rest))


def known(run: Run) -> set[str]:
    """Return the questions that before was asked and answered with their fact."""
    frame = verdict_rows.table(run, verdict_rows.rules())
    if "verdict_before" not in frame:
        return set()
    return set(frame.loc[frame["verdict_before"].isin(list(STILL_SAID.values())), "question"])


def nearest(question: str, rows: Rows, known: set[str]) -> str:
    """Return the taught question that has the most of a question's rare words, one that before knows if there is any."""
    near = by_nearness(question, taught(rows))
    sure = [row for row in near if row["question"] in known]
    return str(next(iter([*sure, *near]), {}).get("question", ""))


def taught(rows: Rows) -> list[Mapping[str, Any]]:
    """Return the lines of questions that were taught."""
    return [
        row for row in rows if row.get("scope") in SCOPES and row.get("question") and scope_names.kind(row) not in ONLY_ASKED
    ]


def by_nearness(question: str, rows: Rows) -> list[Mapping[str, Any]]:
    """Return the lines that share words with a question, the nearest first.

    Cosine of the two sets of stems, each weighed by log(lines / lines with it): the idea of inverse document frequency.
    """
    words = [verdict_words.content(verdict_words.tokens(str(row["question"]))) for row in rows]
    often = Counter(word for each in words for word in each)
    weight = {word: math.log(len(rows) / count) for word, count in often.items()}
    mine = verdict_words.content(verdict_words.tokens(question)) & set(weight)

    def size(each: set[str]) -> float:
        return sum(weight[word] ** 2 for word in each)

    scored = [(size(mine & each) / math.sqrt(size(each) or 1.0), index) for index, each in enumerate(words)]
    return [rows[index] for score, index in sorted(scored, key=lambda pair: -pair[0])[:LOOKED_AT] if score > 0]
