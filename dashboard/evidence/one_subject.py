"""The part "One subject": everything the model says about one person or work, with what still comes out first, and how
it stands among the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from core.metrics import own_verdicts
from core.metrics.verdict_rules import MeasuredAnswer
from core.runs.asked import STILL_SAID
from core.runs.store import Run
from core.runs.voices import SPOKEN
from dashboard.charts import subjects as chart
from dashboard.charts.subjects import Subject
from dashboard.evidence import examples as every
from dashboard.evidence import filters, one_example
from dashboard.text import md, shorten
from dashboard.widgets import page_style, verdict_rows
from dashboard.widgets.scope_names import SCOPES

if TYPE_CHECKING:
    import pandas as pd

FEW = 6
"""examples of a scope that are shown at first"""
DRAWN = 14
"""subjects that are drawn at first"""


def show(run: Run) -> None:
    """Show the part."""
    if not every.judged(run):
        return
    frame = verdict_rows.with_own(verdict_rows.table(run, verdict_rows.rules()), own_verdicts.own(run))
    names = worst(frame)
    given = st.query_params.get(filters.WHO)
    name = given if given in names else names[0]
    st.session_state["filter.who"] = name
    filters.subject(names, "Subject, worst first", "", 420)
    mine = verdict_rows.worst_first(frame[frame["subject"] == name])
    st.markdown(in_words(name, mine))
    answers = verdict_rows.gathered(run).answers["after"]
    still = secrets(mine, answers, frame)
    if still:
        st.markdown("Still said of what was to be forgotten: " + ", ".join(f"**{md(fact)}**" for fact in still))
    others(run, frame, names, name)
    for scope, title in SCOPES.items():
        examples(run, mine[mine["scope"] == scope], scope, title)


def worst(frame: pd.DataFrame) -> list[str]:
    """Return the subjects, those with most leaks first, then with most losses, then by name."""
    bad = {name: [0, 0] for name in sorted(set(frame["subject"]))}
    for name, verdict in zip(frame["subject"], frame["verdict"], strict=True):
        bad[name][0] -= verdict == "leaked"
        bad[name][1] -= verdict == "lost"
    return sorted(bad, key=lambda name: bad[name])


def in_words(name: str, mine: pd.DataFrame) -> str:
    """Say how one subject came out."""
    parts = []
    for scope, good in (("unlearn", "leaked"), ("retention", "kept")):
        rows = mine[mine["scope"] == scope]
        if len(rows):
            after, before = (
                int((rows[column] == good).sum())
                for column in ("verdict", "verdict_before" if "verdict_before" in rows else "verdict")
            )
            words = (
                "questions to be forgotten still give something away"
                if scope == "unlearn"
                else "questions to be kept are still answered"
            )
            parts.append(f"**{after} of {len(rows)}** {words} (before {before})")
    return f"{md(name or filters.NOBODY)}: " + "; ".join(parts) + "."


def secrets(mine: pd.DataFrame, answers: Sequence[MeasuredAnswer | None], frame: pd.DataFrame) -> list[str]:
    """Return the facts that leaked answers say."""
    positions = {i: position for position, i in enumerate(frame["id"])}
    facts: dict[str, None] = {}
    for i in mine.loc[(mine["scope"] == "unlearn") & (mine["verdict"] == "leaked"), "id"]:
        answer = answers[positions[i]]
        if answer is not None:
            facts |= dict.fromkeys(answer.said.facts)
    return list(facts)


def examples(run: Run, rows: pd.DataFrame, scope: str, title: str) -> None:
    """Show the examples of one scope, the worst first."""
    if rows.empty:
        return
    st.markdown(f"#### {title} :gray[· {len(rows)}]")
    every = len(rows) > FEW and st.toggle(f"Show all {len(rows)}", key=f"every.{scope}")
    palette = page_style.palette()
    for row in verdict_rows.records(rows if every else rows.head(FEW)):
        with st.container(border=True, gap="small"):
            verdict_rows.compare_link(run, str(row["question"]), f"**{md(shorten(str(row['question']), 140))}**")
            st.html(one_example.answers(row, palette, ("before", "after")))


def others(run: Run, frame: pd.DataFrame, names: Sequence[str], chosen: str) -> None:
    """Draw how much is said of each subject, the chosen one marked; a click on another one opens it."""
    all_ = len(names) > DRAWN and st.toggle(f"Show all {len(names)}", key="all_subjects", bind="query-params")
    rows = said_of(frame, names)
    page_style.chart(
        chart.subjects(rows if all_ else rows[:DRAWN], chosen, page_style.palette()),
        f"Answers that say the fact, by subject, worst first: {', '.join(names[:DRAWN])}",
        "subjects",
        on_click=lambda who: filters.about(str(who)),
        facts=[
            ("Run", run.id),
            ("File", "answers.jsonl, tokens.parquet"),
            ("Computed as", "share of a subject's questions whose answer says the fact: leaked or kept, by the rules"),
            ("From", f"{len(frame)} questions of all kinds"),
        ],
        columns={"subject": [row.name for row in rows]}
        | {
            f"{scope} {voice}{part}": [row.said.get(scope, {}).get(voice, (None, None))[at] for row in rows]
            for scope in STILL_SAID
            for voice in SPOKEN
            for at, part in enumerate(("", " of"))
        },
    )


def said_of(frame: pd.DataFrame, names: Sequence[str]) -> list[Subject]:
    """Return how many answers about each subject say the fact, of how many, by scope and voice."""
    said: dict[str, dict[str, dict[str, tuple[int, int]]]] = {name: {} for name in names}
    for voice in SPOKEN:
        column = "verdict" if voice == "after" else f"verdict_{voice}"
        if column not in frame:
            continue
        asked = frame[frame[column] != ""]
        hit = asked[column] == asked["scope"].map(STILL_SAID)
        for (name, scope), hits in hit.groupby([asked["subject"], asked["scope"]]):
            said[str(name)].setdefault(str(scope), {})[voice] = int(hits.sum()), len(hits)
    return [Subject(name, by_scope) for name, by_scope in said.items()]
