"""The watched questions: what the model answers to a few of them, before and at each checkpoint of unlearning."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.runs.store import Run
from dashboard.charts.base import SCOPE_NAMES
from dashboard.text import marked, md
from dashboard.widgets import current_run, page_style

LATEST = "last two"
KEPT = "kept step"


def rounds(result: Any, events: Sequence[Mapping[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """Return step -> answers, from unlearn.json where the stage has ended, else from the last attempt's events."""
    by_step: dict[int, list[dict[str, Any]]] = {}
    if isinstance(result, dict) and result.get("watched"):
        given: Sequence[Mapping[str, Any]] = [row for row in result["watched"] if isinstance(row, dict)]
    else:
        given = _of_last_attempt(events)
    for row in given:
        answers = row.get("answers")
        if isinstance(row.get("step"), int) and isinstance(answers, list):
            by_step[row["step"]] = [answer for answer in answers if isinstance(answer, dict)]
    return dict(sorted(by_step.items()))


def _of_last_attempt(events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    attempt: list[Mapping[str, Any]] = []
    for event in events:
        if event.get("kind") == "stage" and event.get("name") == "unlearn" and event.get("state") == "running":
            attempt = []
        elif event.get("kind") == "watch":
            attempt.append(event)
    return attempt


def show(run: Run, result: Any, events: Sequence[Mapping[str, Any]]) -> None:
    """Show each watched question with its answers at two checkpoints, and a way to choose which."""
    by_step = rounds(result, events)
    if not by_step:
        return
    st.subheader("Watched questions")
    steps = list(by_step)
    kept = result.get("step") if isinstance(result, dict) else None
    first, last = _which(steps, kept if kept in steps[1:] else None)
    if len(steps) == 1:
        st.caption(f"{_name(first).capitalize()}; they are asked again at each checkpoint.")
    truths = {row.get("example"): row.get("truth") for row in current_run.answers(run)}
    before = {answer.get("example"): answer for answer in by_step[first]}
    for answer in by_step[last]:
        _question(answer, before.get(answer.get("example")), first, last, truths.get(answer.get("example")))


def _which(steps: Sequence[int], kept: int | None) -> tuple[int, int]:
    """Let one checkpoint be chosen, to see it against the one before unlearning.

    Else the last two are shown; of a run that has ended the step that it kept, which need not be the last.
    """
    if len(steps) < 2:
        return steps[0], steps[0]
    newest = LATEST if kept is None else KEPT
    options = [newest, *map(_name, steps[1:])]
    if st.session_state.get("watched", newest) not in options:
        del st.session_state["watched"]  # the run has ended since, or another one is shown
    # A run that goes on adds checkpoints: a choice of a step stays, “last two” moves along.
    chosen = st.select_slider(
        "Checkpoint",
        options,
        key="watched",
        bind="query-params",
        help=f"Answers at this checkpoint, against those before unlearning. All the way left: the {newest}.",
    )
    if chosen == newest or chosen not in options:
        return (steps[-2], steps[-1]) if kept is None else (steps[0], kept)
    return steps[0], steps[options.index(chosen)]


def _name(step: int) -> str:
    return f"step {step}" if step else "before"


def _question(answer: Mapping[str, Any], earlier: Mapping[str, Any] | None, first: int, last: int, truth: Any) -> None:
    """Show one question; words that changed between the two checkpoints are marked."""
    sign = SCOPE_NAMES.get(str(answer.get("scope")), "")
    palette = page_style.palette()
    with st.container(border=True):
        st.markdown(f"**{md(answer.get('question', ''))}** :gray[{sign}]")
        text, old = str(answer.get("text", "")), str((earlier or {}).get("text", ""))
        style = f"background: transparent; color: {palette.accent}; text-decoration: underline"
        rows = [(_name(last), marked(text, old, style) if first != last else html.escape(text))]
        if first != last and earlier is not None:
            rows.insert(0, (_name(first), html.escape(old)))
        if truth:
            rows.append(("true answer", html.escape(str(truth))))
        cells = "".join(
            f'<div style="color:{palette.muted};min-width:5.5rem">{html.escape(name)}</div>'
            f'<div dir="auto" style="flex:1;overflow-wrap:anywhere">{body or "<i>nothing</i>"}</div>'.join(
                ('<div style="display:flex;gap:.75rem;margin:.15rem 0;max-height:9rem;overflow:auto">', "</div>")
            )
            for name, body in rows
        )
        st.html(cells)
