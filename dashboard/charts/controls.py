"""A run beside its controls: what each does right as points with intervals, a line a region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.charts.base import Figure, axis, figure
from dashboard.charts.palette import Palette
from dashboard.text import chart_text, shorten


@dataclass(frozen=True)
class Control:
    """One region. Percent."""

    name: str
    value: float
    low: float
    high: float
    given: bool = False
    """the run itself"""


def controls(rows: Sequence[Control], references: Mapping[str, float], palette: Palette, what: str) -> Figure:
    """Draw the regions from top to bottom. references: model that was not unlearned -> the same of it. what: the axis."""
    fig = figure(palette, 110 + 34 * len(rows), hovermode="closest", margin={"t": 30})
    for given in (False, True):
        points = [(y, row) for y, row in enumerate(rows) if row.given == given]
        if not points:
            continue
        color = palette.accent if given else palette.retention
        fig.add_scatter(
            x=[row.value for _, row in points],
            y=[y for y, _ in points],
            mode="markers",
            name="this run" if given else "controls",
            marker={
                "symbol": "circle" if given else "circle-open",
                "size": 12,
                "color": color,
                "line": {"width": 2, "color": color},
                "opacity": 1,
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "color": color,
                "thickness": 1.5,
                "width": 4,
                "array": [row.high - row.value for _, row in points],
                "arrayminus": [row.value - row.low for _, row in points],
            },
            text=[chart_text(row.name) for _, row in points],
            customdata=[f"{row.low:.1f} to {row.high:.1f}" for _, row in points],
            hovertemplate="%{text}: %{x:.1f} (%{customdata})<extra></extra>",
        )
        if given:
            row = points[0][1]
            fig.add_shape(
                type="rect",
                x0=row.low,
                x1=row.high,
                y0=0,
                y1=1,
                yref="paper",
                fillcolor=color,
                opacity=0.08,
                line={"width": 0},
                layer="below",
            )
    _references(fig, references, palette)
    every = [end for row in rows for end in (row.low, row.high)] + list(references.values())
    room = max(2.0, 0.06 * (max(every) - min(every)))
    fig.update_layout(
        xaxis=axis(palette, what, range=[min(every) - room, max(every) + room]),
        yaxis=axis(
            palette,
            range=[len(rows) - 0.4, -0.6],
            tickvals=list(range(len(rows))),
            showgrid=False,
            ticktext=[chart_text(shorten(row.name, 30)) for row in rows],
        ),
    )
    return fig


def _references(fig: Figure, references: Mapping[str, float], palette: Palette) -> None:
    """Draw the models that stand beside; where both are close, one label names them."""
    drawn: list[tuple[float, str]] = []
    for name, value in references.items():
        if drawn and abs(drawn[-1][0] - value) < 3:
            drawn[-1] = (drawn[-1][0], f"{drawn[-1][1]}, {name}")
        else:
            drawn.append((value, name))
        line: dict[str, Any] = {"color": palette.muted, "width": 1, "dash": "dot"}
        fig.add_vline(value, line=line)
    for value, name in drawn:
        fig.add_annotation(
            x=value,
            y=1,
            yref="paper",
            yanchor="bottom",
            text=chart_text(name),
            showarrow=False,
            font={"color": palette.muted, "size": 12},
        )
