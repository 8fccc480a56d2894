"""One recorded question that was to be forgotten, answered before and after, each answer judged: what a picture of cells is
about, in four lines.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.runs import asked as asked_
from core.runs.scores import Scores
from dashboard.text import shorten
from dashboard.widgets import current_run, page_style, verdict_rows

if TYPE_CHECKING:
    from core.runs.store import Run
    from dashboard.charts.palette import Palette

LONGEST = 110
"""characters of an answer that are shown"""
VERDICTS = {"before": ("verdict_before", "why_before"), "after": ("verdict", "why")}
"""voice -> columns of the examples' verdicts and of their reasons"""


def show(run: Run) -> None:
    """Show the question with a link to all of it; nothing where no answers were recorded."""
    asked = [row for row in current_run.answers(run) if (row.get("scope"), row.get("split")) == ("unlearn", "train")]
    row = chosen(asked)
    if row is None:
        return
    with st.container(gap="xxsmall"):
        heading = f"One of {len(asked)} questions to unlearn{besides(Scores.read(run))}"
        st.html(markup(row, heading, page_style.palette(), verdicts(run, str(row.get("example")))))
        verdict_rows.compare_link(run, str(row.get("question", "")), "Compare the answers")


def besides(scores: Scores) -> str:
    """Say that others are counted beside it; empty where they are not."""
    kind = asked_.kind_asked(scores)
    counted = asked_.outcomes(scores, "after", "unlearn", kind)
    return f"; the {counted.n} counted are new ones" if counted and kind != "train" else ""


def chosen(asked: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the first question that was answered word for word before, whatever came after; else the first one."""
    both = [row for row in asked if row.get("question") and row.get("before") and row.get("after")]
    return next(
        (row for row in both if str(row["before"]).strip() == str(row.get("truth", "")).strip()), next(iter(both), None)
    )


def verdicts(run: Run, example: str) -> dict[str, tuple[str, str]]:
    """Return voice -> (verdict, reason) of an example, as Compare shows them."""
    frame = verdict_rows.table(run, verdict_rows.rules())
    rows = verdict_rows.records(frame[frame["id"] == example])
    return {
        voice: (str(row[verdict]), str(row[why]))
        for row in rows
        for voice, (verdict, why) in VERDICTS.items()
        if row.get(verdict)
    }


def markup(
    row: Mapping[str, Any], heading: str, palette: Palette, judged: Mapping[str, tuple[str, str]] | None = None
) -> str:
    """Return the question and its two answers as escaped HTML. judged: voice -> (verdict, reason)."""
    lines = "".join(
        f'<div style="display:flex;gap:.5rem"><span style="flex:0 0 4.4rem;color:{color};font-weight:600"><span '
        f'aria-hidden="true">{sign}</span> {voice}</span>'
        f'<span dir="auto" style="overflow-wrap:anywhere">{html.escape(shorten(str(row[voice]), LONGEST))}'
        f"{_badge(voice, *judged[voice], palette) if judged and voice in judged else ''}</span></div>"
        for sign, voice, color in (("□", "before", palette.before), ("■", "after", palette.accent))
    )
    return (
        f'<div style="font-size:.875rem;line-height:1.6"><div style="color:{palette.muted}">{html.escape(heading)}</div>'
        f'<div style="font-weight:600" dir="auto">{html.escape(shorten(str(row["question"]), LONGEST))}</div>{lines}</div>'
    )


def _badge(voice: str, verdict: str, why: str, palette: Palette) -> str:
    name, bad = verdict_rows.of_voice(verdict, voice)
    color = palette.bad if bad else palette.text
    style = f"color:{color};border:1px solid {color};border-radius:4px;padding:0 .3rem;margin-left:.5rem;white-space:nowrap"
    return f' <b style="{style}" title="{html.escape(why, quote=True)}">{html.escape(name)}</b>'
