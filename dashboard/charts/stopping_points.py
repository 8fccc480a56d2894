"""What was said at every check of unlearning, or by next words succeeded, and where one would stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from dashboard.charts.base import SCOPE_NAMES, Figure, axis, figure, line_style, scope_marker
from dashboard.charts.palette import Palette

Checks = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Line:
    """One number at every check."""

    name: str
    values: Sequence[float]
    """percent"""
    scope: str
    """whose colour it has"""
    symbol: str = ""
    """marker; that of the scope where none is named"""


def said(checks: Checks) -> list[Line]:
    """Return what was said when asked: of U no longer, of U something made up, of R still."""
    return [
        Line(f"{SCOPE_NAMES['unlearn']}: no longer said", [check["said_forgotten"] for check in checks], "unlearn"),
        Line("△ to forget: made up", [check["said_made_up"] for check in checks], "unlearn", "triangle-up-open"),
        Line(f"{SCOPE_NAMES['retention']}: still said", [check["said_kept"] for check in checks], "retention"),
    ]


def next_word(checks: Checks) -> list[Line]:
    """Return Unlearn and Retention Success."""
    return [
        Line(SCOPE_NAMES["unlearn"], [100 - check["unlearn"] for check in checks], "unlearn"),
        Line(SCOPE_NAMES["retention"], [check["retention"] for check in checks], "retention"),
    ]


def stops(
    steps: Sequence[float], lines: Sequence[Line], chosen: float, kept: float, ignorance: float | None, palette: Palette
) -> Figure:
    """Draw lines over the steps of checks.

    chosen: the step to stop at. kept: the run's own result. ignorance: Unlearn Success of the never-taught model on the same
    questions, where the lines are of next words.
    """
    fig = figure(palette, 320, showlegend=True, margin={"t": 34})
    for line in lines:
        style, marker = line_style(palette, line.scope), scope_marker(line.scope, 9)
        if line.symbol:
            style, marker = {**style, "width": 1.5, "dash": "dot"}, {"symbol": line.symbol, "size": 9}
        fig.add_scatter(
            x=steps,
            y=line.values,
            mode="lines+markers",
            name=line.name,
            line=style,
            marker=marker,
            hovertemplate="step %{x}: %{y:.1f} %<extra>%{fullData.name}</extra>",
        )
    if ignorance is not None:
        quiet: dict[str, Any] = {"color": palette.muted, "size": 12}
        fig.add_shape(
            type="line",
            x0=0,
            x1=1,
            xref="paper",
            y0=ignorance,
            y1=ignorance,
            line={"color": palette.muted, "width": 1, "dash": "dot"},
        )
        fig.add_annotation(
            x=0,
            xref="paper",
            xanchor="left",
            y=ignorance,
            yanchor="bottom",
            text="never taught, ✖",
            showarrow=False,
            font=quiet,
        )
    if kept != chosen:
        _line(fig, kept, "the result", palette.muted, "dot", _clear(steps, lines, kept))
    _line(fig, chosen, "stop here" if kept != chosen else "the result", palette.text, "solid", _clear(steps, lines, chosen))
    room = 0.04 * (max(steps) - min(steps) or 1)
    fig.update_layout(
        xaxis=axis(palette, "step", range=[min(steps) - room, max(steps) + room]),
        yaxis=axis(palette, "%", range=[-3, 106], tickvals=[0, 20, 40, 60, 80, 100]),
    )
    return fig


def _clear(steps: Sequence[float], lines: Sequence[Line], step: float) -> float:
    """Return the height (%) beside a step that is farthest from all lines, for words that cover no marker."""
    at = min(range(len(steps)), key=lambda index: abs(steps[index] - step))
    heights = sorted([0.0, 100.0, *(line.values[at] for line in lines)])
    _, middle = max((above - below, (above + below) / 2) for below, above in pairwise(heights))
    return middle


def _line(fig: Figure, step: float, words: str, color: str, dash: str, height: float) -> None:
    fig.add_vline(step, line={"color": color, "width": 1.5, "dash": dash})
    fig.add_annotation(
        x=step,
        y=height,
        yanchor="middle",
        xanchor="right",
        text=words,
        textangle=-90,
        showarrow=False,
        font={"color": color, "size": 12},
    )
