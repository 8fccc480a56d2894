"""Both scopes' success at every check of unlearning, and where one would stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.charts.base import SCOPE_NAMES, Figure, axis, figure, line_style, scope_marker
from dashboard.charts.palette import Palette

Checks = Sequence[Mapping[str, float]]


def stops(checks: Checks, chosen: float, kept: float, ignorance: float | None, palette: Palette) -> Figure:
    """Draw Unlearn and Retention Success over steps.

    checks: step, unlearn and retention accuracy in percent. chosen: the step to stop at. kept: the run's own result.
    ignorance: Unlearn Success of the never-taught model on the same questions.
    """
    fig = figure(palette, 320, showlegend=True, margin={"t": 34})
    steps = [check["step"] for check in checks]
    for scope in ("unlearn", "retention"):
        values = [100 - check[scope] if scope == "unlearn" else check[scope] for check in checks]
        fig.add_scatter(
            x=steps,
            y=values,
            mode="lines+markers",
            name=SCOPE_NAMES[scope],
            line=line_style(palette, scope),
            marker=scope_marker(scope, 9),
            hovertemplate="step %{x}: success %{y:.1f} %<extra></extra>",
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
        _line(fig, kept, "the result", palette.muted, "dot", palette)
    _line(fig, chosen, "stop here" if kept != chosen else "the result", palette.text, "solid", palette)
    room = 0.04 * (max(steps) - min(steps) or 1)
    fig.update_layout(
        xaxis=axis(palette, "step", range=[min(steps) - room, max(steps) + room]),
        yaxis=axis(palette, "success, %", range=[-3, 106], tickvals=[0, 20, 40, 60, 80, 100]),
    )
    return fig


def _line(fig: Figure, step: float, words: str, color: str, dash: str, palette: Palette) -> None:
    fig.add_vline(step, line={"color": color, "width": 1.5, "dash": dash})
    fig.add_annotation(
        x=step,
        y=0,
        yref="paper",
        yanchor="bottom",
        xanchor="right",
        text=words,
        textangle=-90,
        showarrow=False,
        font={"color": color, "size": 12},
    )
