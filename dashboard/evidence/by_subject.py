"""Per subject: whose facts are still there, whose are lost although they were to be kept; worst first, each with its
questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.runs.store import Run
from core.runs.voices import REFERENCES, SPOKEN, WITHIN
from dashboard import pages
from dashboard.charts import subjects as chart
from dashboard.charts.base import SCOPE_NAMES
from dashboard.charts.subjects import Subject
from dashboard.evidence.scores_table import Measured
from dashboard.text import md, shorten
from dashboard.widgets import address, current_run, page_style
from dashboard.widgets.scope_names import IN_WORDS

ORDERS = ("Least forgotten", "Most lost", "Name")
FEW = 14
"""subjects that are drawn at first"""
QUESTIONS = 12
FORMULA = (
    "answer-token accuracy of each question (share of answer tokens that are the model's first choice), mean over a "
    "subject's"
)

Row = Mapping[str, Any]


def show(current: Measured, split: str) -> None:
    """Show the breakdown of the current run."""
    rows = [row for row in current_run.answers(current.run) if row.get("split") == split]
    accuracy = current.scores.examples("accuracy")
    entries = of_subjects(rows, accuracy)
    if not entries:
        st.info("This run has recorded no accuracy per question, so there is nothing to break down.")
        return
    order = st.segmented_control(
        "Worst first by",
        ORDERS,
        key="worst",
        default=ORDERS[0],
        required=True,
        bind="query-params",
        help="Least forgotten: the most accuracy left above a never-taught model, on what must be forgotten. "
        "Most lost: the largest loss on what must be kept.",
    )
    entries = ordered(entries, order)
    st.markdown(md(in_words(entries)))
    names = [subject.name for subject in entries]
    address.take("subject", names)
    if st.session_state.get("subject") not in names:
        st.session_state.pop("subject", None)
    name = st.selectbox("Subject", names, key="subject", width=420)
    address.keep("subject", name if name != names[0] else "")
    every = len(entries) > FEW and st.toggle(f"Show all {len(entries)}", key="all_subjects", bind="query-params")
    shown = entries if every else entries[:FEW]
    page_style.chart(
        chart.subjects(shown, name, page_style.palette()),
        f"Accuracy before and after by subject. {in_words(entries)}",
        "subjects",
        on_click=lambda who: _choose(who, names),
        columns=columns(entries),
        facts=page_style.where(current.run, "evaluate", "metrics.json and answers.jsonl", FORMULA, IN_WORDS[split]),
    )
    questions(current.run, [row for row in rows if subject_of(row) == name], accuracy)


def subject_of(row: Row) -> str:
    """Return whom a question is about."""
    return str(row.get("subject") or "other")


def of_subjects(rows: Sequence[Row], accuracy: Mapping[str, Mapping[str, float]]) -> list[Subject]:
    """Return the mean accuracy of each subject by scope and voice. rows: example, scope, subject; accuracy: voice -> example
    -> percent.
    """
    sums: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        for voice, by_example in accuracy.items():
            if (value := by_example.get(str(row.get("example")))) is not None and row.get("scope") in SCOPE_NAMES:
                sums.setdefault(subject_of(row), {}).setdefault(str(row["scope"]), {}).setdefault(voice, []).append(value)
    return [
        Subject(name, {scope: {v: sum(x) / len(x) for v, x in voices.items()} for scope, voices in scopes.items()})
        for name, scopes in sums.items()
    ]


def left(subject: Subject) -> float:
    """Return how much accuracy is left above the never-taught model, in points; without one, above 0."""
    accuracy = subject.accuracy.get("unlearn", {})
    return accuracy["after"] - accuracy.get("never", 0.0) if "after" in accuracy else -1000.0


def lost(subject: Subject) -> float:
    """Return how much accuracy is lost on what had to be kept, in points."""
    accuracy = subject.accuracy.get("retention", {})
    return accuracy["before"] - accuracy["after"] if {"before", "after"} <= set(accuracy) else -1000.0


def ordered(subjects: Sequence[Subject], order: str) -> list[Subject]:
    """Sort subjects, the worst first."""
    if order == "Name":
        return sorted(subjects, key=lambda subject: subject.name.lower())
    worst = left if order == ORDERS[0] else lost
    return sorted(subjects, key=lambda subject: (-worst(subject), subject.name))


def in_words(subjects: Sequence[Subject]) -> str:
    """Say who is remembered best, and who has lost most."""
    best, hurt = max(subjects, key=left), max(subjects, key=lost)
    parts = []
    if -1000 < left(best) <= 0 and "never" in best.accuracy["unlearn"]:
        parts.append(f"None of {len(subjects)} subjects is remembered better than by a model that was never taught.")
    elif left(best) > -1000:
        known = best.accuracy["unlearn"]
        references = ", ".join(f"{WITHIN[voice]}: {known[voice]:.0f} %" for voice in REFERENCES if voice in known)
        beside = f" ({references})" if references else ""
        parts.append(
            f"Best remembered of {len(subjects)} subjects is {shorten(best.name, 40)}: {known['after']:.0f} % of the words "
            f"to be forgotten are still right{beside}."
        )
    if lost(hurt) > 0.5:
        parts.append(
            f"{shorten(hurt.name, 40)} lost the most of what had to be kept: {lost(hurt):.0f} "
            f"{'point' if round(lost(hurt)) == 1 else 'points'}."
        )
    elif lost(hurt) > -1000:
        parts.append("Nobody lost anything that had to be kept.")
    return " ".join(parts)


def columns(subjects: Sequence[Subject]) -> dict[str, list[Any]]:
    """Return what the CSV holds."""
    parts = [(scope, voice) for scope in SCOPE_NAMES for voice in SPOKEN]
    return {"subject": [s.name for s in subjects]} | {
        f"{scope} {voice}": [s.accuracy.get(scope, {}).get(voice) for s in subjects] for scope, voice in parts
    }


def questions(run: Run, rows: Sequence[Row], accuracy: Mapping[str, Mapping[str, float]]) -> None:
    """List a subject's questions, the ones still known first; each opens in Compare."""

    def percent(row: Row, voice: str) -> float | None:
        return accuracy.get(voice, {}).get(str(row.get("example")))

    for scope, title in SCOPE_NAMES.items():
        mine = [r for r in rows if r.get("scope") == scope and r.get("question") and percent(r, "after") is not None]
        mine.sort(
            key=lambda row: (
                -(percent(row, "after") or 0)
                if scope == "unlearn"
                else (percent(row, "after") or 0) - (percent(row, "before") or 0)
            )
        )
        if not mine:
            continue
        st.markdown(f"**{title}**, {'best remembered' if scope == 'unlearn' else 'most lost'} first")
        for row in mine[:QUESTIONS]:
            before, after = percent(row, "before"), percent(row, "after")
            change = f":gray[{before:.0f} → {after:.0f} %] " if before is not None and after is not None else ""
            st.page_link(
                pages.COMPARE.script,
                label=f"{change}{md(shorten(str(row['question']), 100))}",
                icon=pages.COMPARE.icon,
                query_params={"run": run.id, "q": str(row["question"])[:4000]},
            )
        if len(mine) > QUESTIONS:
            st.caption(f"… and {len(mine) - QUESTIONS} more")


def _choose(name: object, names: Sequence[str]) -> None:
    if name in names:
        st.session_state["subject"] = name
