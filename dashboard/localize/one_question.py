"""One recorded question that was to be forgotten, answered before and after: what a picture of cells is about, in three
lines.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from dashboard.text import shorten
from dashboard.widgets import current_run, page_style, verdict_rows

if TYPE_CHECKING:
    from core.runs.store import Run
    from dashboard.charts.palette import Palette

LONGEST = 110
"""characters of an answer that are shown"""


def show(run: Run) -> None:
    """Show the question with a link to all of it; nothing where no answers were recorded."""
    asked = [row for row in current_run.answers(run) if (row.get("scope"), row.get("split")) == ("unlearn", "train")]
    row = chosen(asked)
    if row is None:
        return
    taught = "taught, then unlearned" if (run.path / "teach.json").is_file() else "unlearned"
    with st.container(gap="xxsmall"):
        st.html(markup(row, f"One of {len(asked)} questions that were {taught}", page_style.palette()))
        verdict_rows.compare_link(run, str(row.get("question", "")), "Compare the answers")


def chosen(asked: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the first question that was answered word for word before, whatever came after; else the first one."""
    both = [row for row in asked if row.get("question") and row.get("before") and row.get("after")]
    return next(
        (row for row in both if str(row["before"]).strip() == str(row.get("truth", "")).strip()), next(iter(both), None)
    )


def markup(row: Mapping[str, Any], heading: str, palette: Palette) -> str:
    """Return the question and its two answers as escaped HTML."""
    lines = "".join(
        f'<div style="display:flex;gap:.5rem"><span style="flex:0 0 4.4rem;color:{color};font-weight:600"><span '
        f'aria-hidden="true">{sign}</span> {voice}</span>'
        f'<span dir="auto" style="overflow-wrap:anywhere">{html.escape(shorten(str(row[voice]), LONGEST))}</span></div>'
        for sign, voice, color in (("□", "before", palette.before), ("■", "after", palette.accent))
    )
    return (
        f'<div style="font-size:.875rem;line-height:1.45"><div style="color:{palette.muted}">{html.escape(heading)}</div>'
        f'<div style="font-weight:600" dir="auto">{html.escape(shorten(str(row["question"]), LONGEST))}</div>{lines}</div>'
    )
