"""Forgetting against keeping, a point a run: which runs are not beaten by another, and where ignorance ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.charts.base import Figure, axis, figure
from dashboard.charts.palette import Palette
from dashboard.text import chart_text, shorten

NO_BAR = "unknown"
"""in the place of a length: of length 0, which null is too, plotly draws a bar's ends, a cross in the point"""
Ends = tuple[float, float] | None
Box = tuple[float, float, float, float]
"""left, low, right, high"""
LONGEST = 26
"""letters of a label"""
FEW = 8
"""Up to so many points all are named in the picture; of more only those on the front and the current one."""


@dataclass(frozen=True)
class Point:
    """One run. Percent."""

    id: str
    name: str
    x: float
    """how much is forgotten: by its answers, Unlearn Success or never-knew score"""
    y: float
    """how much is kept: by its answers, or Retention Success"""
    x_ends: Ends = None
    """interval of x"""
    y_ends: Ends = None
    current: bool = False
    compared: bool = True
    """whether the front is about this run too"""


@dataclass(frozen=True)
class Reference:
    """A model that stands beside the runs."""

    name: str
    x: float
    y: float
    kind: str
    """before, never or published"""


@dataclass(frozen=True)
class Tradeoff:
    """What is drawn."""

    points: Sequence[Point]
    references: Sequence[Reference] = ()
    title: str = "Unlearn Success, %"
    ignorance: float | None = None
    """x of the never-taught model, where the axis goes on beyond it"""
    front: Sequence[str] = ()
    """ids on the front; empty where there is nothing to compare"""
    up: str = "Retention Success, %"


def front(points: Sequence[Point]) -> list[str]:
    """Return the ids of the points that no other one beats: none is at least as good in both and better in one."""
    return [p.id for p in points if not any(q.x >= p.x and q.y >= p.y and (q.x > p.x or q.y > p.y) for q in points)]


def draw(what: Tradeoff, palette: Palette) -> Figure:
    """Draw runs, references, the front, and the zone below ignorance."""
    fig = figure(palette, 460, showlegend=True, clickmode="event", hovermode="closest", margin={"t": 34})
    if what.ignorance is not None:
        _beyond(fig, what.ignorance, palette)
    _front(fig, what, palette)
    for kind, name, marker in (
        ("published", "published, 7B", {"symbol": "triangle-up-open", "size": 10, "color": palette.muted}),
        ("never", "never taught", {"symbol": "diamond-open", "size": 13, "color": palette.muted, "line": {"width": 2}}),
        ("before", "before", {"symbol": "square", "size": 11, "color": palette.before}),
    ):
        members = [r for r in what.references if r.kind == kind]
        if members:
            fig.add_scatter(
                x=[r.x for r in members],
                y=[r.y for r in members],
                mode="markers",
                name=name,
                marker=marker,
                text=[chart_text(r.name) for r in members],
                hovertemplate="%{text}<br>%{x:.1f} / %{y:.1f}<extra>" + name + "</extra>",
            )
    _runs(fig, what, palette)
    fig.update_layout(
        xaxis=axis(
            palette, what.title, range=[min([-4.0, *(p.x - 6 for p in what.points)]), 106], tickvals=[0, 20, 40, 60, 80, 100]
        ),
        yaxis=axis(palette, what.up, range=[-4, 108], tickvals=[0, 20, 40, 60, 80, 100]),
    )
    return fig


def _runs(fig: Figure, what: Tradeoff, palette: Palette) -> None:
    points = what.points
    if not points:
        return
    on = set(what.front)
    named = [p for p in points if len(points) <= FEW or p.id in on or p.current]
    colours = [palette.accent if p.compared else palette.muted for p in points]
    places = labels(sorted(named, key=lambda p: (not p.current, p.id not in on)), points)
    fig.add_scatter(
        x=[p.x for p in points],
        y=[p.y for p in points],
        mode="markers+text",
        name="after unlearning",
        text=[_label(p) if p.id in places else "" for p in points],
        textposition=[places.get(p.id, CORNERS[0]) for p in points],
        textfont={"color": palette.text, "size": 12},
        customdata=[p.id for p in points],
        hovertext=[_hover(p) for p in points],
        hovertemplate="%{hovertext}<extra></extra>",
        error_x=_bars([p.x for p in points], [p.x_ends for p in points], palette),
        error_y=_bars([p.y for p in points], [p.y_ends for p in points], palette),
        marker={
            "opacity": 1,
            "color": colours,
            "symbol": ["circle" if p.current else "circle-open" for p in points],
            "size": [15 if p.current else 11 for p in points],
            "line": {"width": 2, "color": colours},
        },
    )


CORNERS = ("top right", "top left", "bottom right", "bottom left")
LETTER, LINE, REACH = 0.95, 4.6, 1.2
"""A letter's width and a line's height on the axes, and how far a label is from its point; of a picture some 700 pixels
wide."""


def labels(named: Sequence[Point], points: Sequence[Point]) -> dict[str, str]:
    """Return where the label of each point stands, the first ones first; those that find no free corner are left out."""
    marks = {p.id: (p.x - 1.5, p.y - 1.8, p.x + 1.5, p.y + 1.8) for p in points}
    taken: list[Box] = []
    corners = {}
    for point in named:
        others = [*taken, *(mark for name, mark in marks.items() if name != point.id)]
        width = LETTER * len(shorten(point.name, LONGEST))
        for corner in CORNERS:
            left = point.x + REACH if "right" in corner else point.x - REACH - width
            low = point.y + REACH if "top" in corner else point.y - REACH - LINE
            box = (left, low, left + width, low + LINE)
            if left > -4 and box[2] < 106 and not any(_overlap(box, other) for other in others):
                taken.append(box)
                corners[point.id] = corner
                break
    return corners


def _overlap(box: Box, other: Box) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def _label(point: Point) -> str:
    return f" {chart_text(shorten(point.name, LONGEST))} "


def _hover(point: Point) -> str:
    def ends(pair: Ends) -> str:
        return f" ({pair[0]:.1f} to {pair[1]:.1f})" if pair else ""

    return f"<b>{chart_text(point.name)}</b><br>{point.x:.1f}{ends(point.x_ends)} / {point.y:.1f}{ends(point.y_ends)} kept"


def _bars(values: Sequence[float], ends: Sequence[Ends], palette: Palette) -> dict[str, Any]:
    if not any(ends):
        return {"visible": False}
    # Not below 0: an interval need not hold its value, and plotly would draw such a bar the wrong way.
    high = [max(0.0, pair[1] - v) if pair else NO_BAR for v, pair in zip(values, ends, strict=True)]
    low = [max(0.0, v - pair[0]) if pair else NO_BAR for v, pair in zip(values, ends, strict=True)]
    return {
        "type": "data",
        "symmetric": False,
        "array": high,
        "arrayminus": low,
        "color": palette.accent,
        "thickness": 1,
        "width": 3,
    }


def _front(fig: Figure, what: Tradeoff, palette: Palette) -> None:
    """Draw the front as steps: everything below and to the left of it is beaten."""
    on = set(what.front)
    members = sorted((p for p in what.points if p.id in on), key=lambda p: p.x)
    if not members:
        return
    x, y = [members[0].x - 200, *[p.x for p in members], members[-1].x], [members[0].y, *[p.y for p in members], -4.0]
    fig.add_scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": palette.retention, "width": 1.5, "dash": "dot", "shape": "vh"},
        name="front",
        hoverinfo="skip",
    )


def _beyond(fig: Figure, ignorance: float, palette: Palette) -> None:
    fig.add_shape(
        type="rect",
        x0=ignorance,
        x1=106,
        y0=0,
        y1=1,
        yref="paper",
        fillcolor=palette.muted,
        opacity=0.1,
        line={"width": 0},
        layer="below",
    )
    fig.add_annotation(
        x=105,
        xanchor="right",
        y=0,
        yref="paper",
        yanchor="bottom",
        text="below ignorance",
        showarrow=False,
        font={"color": palette.muted, "size": 12},
    )
