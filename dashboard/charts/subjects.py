"""Subjects, worst first: what is said of each before and after, on both scopes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.runs.voices import REFERENCES, WITHIN
from dashboard.charts.base import SYMBOLS, Figure, axis, figure, scope_marker
from dashboard.charts.palette import Palette
from dashboard.text import chart_text, shorten


@dataclass(frozen=True)
class Subject:
    """One person or work."""

    name: str
    said: Mapping[str, Mapping[str, tuple[int, int]]]
    """scope -> voice -> how many answers say the fact, of how many"""

    def percent(self, scope: str, voice: str) -> float:
        """Return the share of answers that say the fact, percent."""
        n, of = self.said[scope][voice]
        return 100 * n / of


def subjects(rows: Sequence[Subject], chosen: str, palette: Palette) -> Figure:
    """Draw a line a subject, U on the left and R on the right: from before (grey) to after, beside what never learned it."""
    fig = figure(palette, 92 + 26 * len(rows), clickmode="event", hovermode="closest", showlegend=True, margin={"t": 58})
    places = list(range(len(rows)))
    there = {voice for row in rows for voices in row.said.values() for voice in voices}
    for scope, side in (("unlearn", "x"), ("retention", "x2")):
        _path(fig, rows, scope, side, palette)
        for voice in (v for v in (*REFERENCES, "before", "after") if v in there):
            points = [
                (y, row.percent(scope, voice), row)
                for y, row in zip(places, rows, strict=True)
                if voice in row.said.get(scope, {})
            ]
            fig.add_scatter(
                x=[x for _, x, _ in points],
                y=[y for y, _, _ in points],
                xaxis=side,
                mode="markers",
                name=WITHIN[voice],
                legendgroup=voice,
                cliponaxis=False,
                showlegend=scope == "unlearn",
                marker=_marker(scope, voice, palette),
                customdata=[row.name for _, _, row in points],
                text=[
                    f"{chart_text(row.name)}<br>{WITHIN[voice]}: {row.said[scope][voice][0]} of {row.said[scope][voice][1]}"
                    for _, _, row in points
                ],
                hovertemplate="%{text}<extra></extra>",
            )
    for scope, text, at in (("unlearn", "✖ to forget", 0.0), ("retention", "● to keep", 0.54)):
        fig.add_annotation(
            x=at,
            xref="paper",
            xanchor="left",
            y=1,
            yref="paper",
            yanchor="bottom",
            text=text,
            showarrow=False,
            font={"color": palette.scope(scope), "size": 12},
        )
    if chosen in [row.name for row in rows]:
        y = [row.name for row in rows].index(chosen)
        fig.add_shape(
            type="rect",
            x0=0,
            x1=1,
            xref="paper",
            y0=y - 0.5,
            y1=y + 0.5,
            fillcolor=palette.accent,
            opacity=0.08,
            line={"width": 0},
            layer="below",
        )
    scale: dict[str, Any] = {"range": [-5, 105], "tickvals": [0, 50, 100]}
    fig.update_layout(
        legend={"y": 1, "yref": "container", "yanchor": "top"},
        xaxis=axis(palette, "answers that say it, %", domain=[0, 0.46], **scale),
        xaxis2=axis(palette, "answers that say it, %", domain=[0.54, 1], **scale),
        yaxis=axis(
            palette, range=[len(rows) - 0.4, -0.6], tickvals=places, ticktext=[chart_text(shorten(r.name, 28)) for r in rows]
        ),
    )
    return fig


def _path(fig: Figure, rows: Sequence[Subject], scope: str, side: str, palette: Palette) -> None:
    """Draw what lies between before and after."""
    x: list[float | None] = []
    y: list[float | None] = []
    for y_position, row in enumerate(rows):
        said = row.said.get(scope, {})
        if "before" in said and "after" in said:
            x += [row.percent(scope, "before"), row.percent(scope, "after"), None]
            y += [y_position, y_position, None]
    dash = "dot" if scope == "unlearn" else "solid"
    fig.add_scatter(
        x=x,
        y=y,
        xaxis=side,
        mode="lines",
        line={"color": palette.grid, "width": 3, "dash": dash},
        hoverinfo="skip",
        showlegend=False,
        name="path",
    )


def _marker(scope: str, voice: str, palette: Palette) -> dict[str, Any]:
    if voice in REFERENCES:
        return {
            "symbol": SYMBOLS[voice],
            "size": 13 if voice == "never" else 9,
            "color": palette.muted,
            "line": {"width": 2, "color": palette.muted},
            "opacity": 1,
        }
    color = palette.before if voice == "before" else palette.scope(scope)
    return {**scope_marker(scope, 10), "color": color, "opacity": 1}
