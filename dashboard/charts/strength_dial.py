"""What happens along the blend from before to after, and which cells hold an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.charts.base import SCOPE_NAMES, Figure, axis, figure, line_style, scope_marker
from dashboard.charts.palette import Palette
from dashboard.text import chart_text

Rows = Sequence[Mapping[str, Any]]


def scopes(rows: Rows, now: float, palette: Palette) -> Figure:
    """Draw both scopes' success at each strength, and where the dial stands."""
    fig = figure(palette, 300, showlegend=True)
    for scope in ("unlearn", "retention"):
        fig.add_scatter(
            x=[row["strength"] for row in rows],
            y=[row[scope] for row in rows],
            mode="lines+markers",
            name=SCOPE_NAMES[scope],
            line=line_style(palette, scope),
            marker=scope_marker(scope, 9),
            hovertemplate="%{x} %: success %{y:.1f} %<extra></extra>",
        )
    return _dial(fig, now, "success, %", palette, [0, 104])


def truth(rows: Rows, now: float, palette: Palette) -> Figure:
    """Draw the log-probability of the true answer at each strength."""
    fig = figure(palette, 300)
    points = [row for row in rows if row.get("logprob") is not None]
    fig.add_scatter(
        x=[row["strength"] for row in points],
        y=[row["logprob"] for row in points],
        mode="lines+markers",
        line={"color": palette.accent, "width": 2},
        marker={"size": 8},
        hovertemplate="%{x} %: %{y:.2f} nats<extra></extra>",
    )
    return _dial(fig, now, "log-probability of the true answer, nats", palette, None)


def _dial(fig: Figure, now: float, title: str, palette: Palette, span: list[float] | None) -> Figure:
    fig.add_vline(now, line={"color": palette.text, "width": 1, "dash": "dot"})
    fig.update_layout(
        xaxis=axis(palette, "strength: 0 % is before, 100 % is after", range=[-4, 154], tickvals=list(range(0, 151, 25))),
        yaxis=axis(palette, title, range=span),
    )
    return fig


def held(recovery: Mapping[str, Any], chosen: str, palette: Palette) -> Figure:
    """Draw by how much the true answer's log-probability comes back with each group of cells put back to before.

    recovery: after (log-probability, nats) and rows with name and logprob. The chosen group is filled.
    """
    rows = recovery["rows"]
    gains = [row["logprob"] - recovery["after"] for row in rows]
    names = [chart_text(row["name"]) for row in rows]
    upright = len(rows) <= 40 and all(name.startswith("layer ") for name in names)
    places = [name.removeprefix("layer ") for name in names] if upright else names
    colors = [palette.accent if row["name"] == chosen else palette.retention for row in rows]
    hover = "%{customdata}: %{" + ("y" if upright else "x") + ":+.2f} nats<extra></extra>"
    bars: dict[str, Any] = {"marker": {"color": colors}, "customdata": names, "hovertemplate": hover}
    fig = figure(palette, 300 if upright else 90 + 22 * len(rows), bargap=0.25, clickmode="event+select", dragmode=False)
    label = "recovered log-probability, nats"
    if upright:
        fig.add_bar(x=places, y=gains, **bars)
        fig.update_layout(xaxis=axis(palette, "layer put back to before", type="category"), yaxis=axis(palette, label))
    else:
        fig.add_bar(x=gains, y=places, orientation="h", **bars)
        fig.update_layout(
            xaxis=axis(palette, label), yaxis=axis(palette, autorange="reversed", type="category", showgrid=False)
        )
    return fig
