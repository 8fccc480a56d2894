"""The tab "One subject": everything the model says about one person or work, before and after, with what still comes out
first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from core.metrics import own_verdicts
from core.metrics.verdict_rules import MeasuredAnswer
from core.runs.store import Run
from dashboard.evidence import one_example
from dashboard.text import md, shorten
from dashboard.widgets import address, page_style, verdict_rows
from dashboard.widgets.scope_names import SCOPES

if TYPE_CHECKING:
    import pandas as pd

FEW = 6
"""examples of a scope that are shown at first"""
NONE = "(no subject)"


def show(run: Run) -> None:
    """Show the tab."""
    frame = verdict_rows.with_own(verdict_rows.table(run, verdict_rows.rules()), own_verdicts.own(run))
    names = worst(frame)
    address.take("about", names)
    if st.session_state.get("about") not in names:
        st.session_state.pop("about", None)
    name = st.selectbox(
        "Subject, worst first", names, key="about", width=420, format_func=lambda who: shorten(who, 70) or NONE
    )
    address.keep("about", name if name != names[0] else "")
    mine = verdict_rows.worst_first(frame[frame["subject"] == name])
    st.markdown(in_words(name, mine))
    answers = verdict_rows.gathered(run).answers["after"]
    still = secrets(mine, answers, frame)
    if still:
        st.markdown("Still said of what was to be forgotten: " + ", ".join(f"**{md(fact)}**" for fact in still))
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
    return f"{md(name or NONE)}: " + "; ".join(parts) + "."


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
