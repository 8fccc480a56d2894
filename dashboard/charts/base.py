"""What all figures have in common: quiet axes, the app's font, no background of their own."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from dashboard.charts.palette import Palette

CONFIG: dict[str, Any] = {"displayModeBar": False, "showSendToCloud": False, "responsive": True}
"""plotly's own options for every chart on a page"""

FONT = "Inter, system-ui, sans-serif"


def figure(palette: Palette, height: int, **layout: Any) -> go.Figure:
    """Return an empty figure in the app's look."""
    fig = go.Figure()
    fig.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 13, "color": palette.text},
        hoverlabel={
            "bgcolor": palette.surface,
            "bordercolor": palette.grid,
            "font": {"family": FONT, "color": palette.text},
        },
        showlegend=False,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
    )
    fig.update_layout(**layout)
    return fig


def axis(palette: Palette, title: str = "", **more: Any) -> dict[str, Any]:
    """Return a quiet axis that cannot be dragged away."""
    return {
        "title": {"text": title, "font": {"size": 13, "color": palette.muted}, "standoff": 8},
        "gridcolor": palette.grid, "zeroline": False, "linecolor": palette.grid, "fixedrange": True,
        "tickfont": {"size": 12, "color": palette.muted}, "automargin": True, **more,
    }  # fmt: skip


def line_style(palette: Palette, scope: str) -> dict[str, Any]:
    """Return the line of a scope: U dashed in the accent, R solid."""
    return {"color": palette.scope(scope), "width": 2, "dash": "dash" if scope == "unlearn" else "solid"}


SCOPE_NAMES = {"unlearn": "✖ unlearn scope", "retention": "● retention scope"}
