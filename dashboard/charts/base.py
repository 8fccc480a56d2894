"""What all figures have in common: quiet axes, the app's font, no background of their own.

A figure is plotly's own JSON, written as such. plotly's Python classes check every value on the way, which took a quarter
of a second for the heatmap and its scatter at every move of a slider; tests check with them instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.runs.voices import REFERENCES, VOICE
from dashboard.charts.palette import Palette

CONFIG: dict[str, Any] = {"displayModeBar": False, "showSendToCloud": False, "responsive": True}
"""plotly's own options for every chart on a page"""

FONT = "Inter, system-ui, sans-serif"


DASHES = {"before": "solid", "after": "solid", "never": "dot", VOICE: "dashdot"}
SYMBOLS = {"before": "square-open", "after": "circle", "never": "line-ns", VOICE: "diamond-open"}
"""voice -> how its line and its points are drawn"""


def voice_line(voice: str, palette: Palette) -> dict[str, Any]:
    """Return the line of a voice: before grey, after the accent, those that never learned it muted, any other blue."""
    color = {"before": palette.before, "after": palette.accent} | dict.fromkeys(REFERENCES, palette.muted)
    return {"color": color.get(voice, palette.retention), "width": 2, "dash": DASHES.get(voice, "dash")}


class Part(dict[str, Any]):
    """A piece of plotly's JSON, whose keys can be read as attributes."""

    def __getattr__(self, name: str) -> Any:
        """Return a key's value."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def _part(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Part({key: _part(inner) for key, inner in value.items()})
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return [_part(inner) for inner in value]
    return value


class Figure:
    """Traces and layout; what each key means is plotly.js's reference."""

    def __init__(self, **layout: Any) -> None:
        """Start without traces."""
        self.data: list[Part] = []
        self.layout = Part({"shapes": [], "annotations": []})
        self.update_layout(**layout)

    def add_scatter(self, **trace: Any) -> None:
        """Add a scatter or line trace."""
        self.data.append(_part({"type": "scatter", **trace}))

    def add_bar(self, **trace: Any) -> None:
        """Add a bar trace."""
        self.data.append(_part({"type": "bar", **trace}))

    def add_heatmap(self, **trace: Any) -> None:
        """Add a heatmap trace."""
        self.data.append(_part({"type": "heatmap", **trace}))

    def add_shape(self, **shape: Any) -> None:
        """Add a shape."""
        self.layout.shapes.append(_part(shape))

    def add_annotation(self, **annotation: Any) -> None:
        """Add a text."""
        self.layout.annotations.append(_part(annotation))

    def add_vline(self, x: float, line: Mapping[str, Any]) -> None:
        """Add a line from bottom to top."""
        self.add_shape(type="line", x0=x, x1=x, y0=0, y1=1, yref="paper", line=line)

    def update_layout(self, **more: Any) -> None:
        """Merge into the layout; keys below the first level are merged as well."""
        _merge(self.layout, more)


def _merge(into: Part, more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), Part):
            _merge(into[key], value)
        else:
            into[key] = _part(value)


def figure(palette: Palette, height: int, **layout: Any) -> Figure:
    """Return an empty figure in the app's look."""
    fig = Figure(
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
        "gridcolor": palette.grid,
        "zeroline": False,
        "linecolor": palette.grid,
        "fixedrange": True,
        "tickfont": {"size": 12, "color": palette.muted},
        "automargin": True,
        **more,
    }


def line_style(palette: Palette, scope: str) -> dict[str, Any]:
    """Return the line of a scope: U dashed in the accent, R solid."""
    return {"color": palette.scope(scope), "width": 2, "dash": "dash" if scope == "unlearn" else "solid"}


def scope_marker(scope: str, size: int) -> dict[str, Any]:
    """Return the marker of a scope: U crosses, R dots."""
    return {"symbol": "x" if scope == "unlearn" else "circle", "size": size}


SCOPE_NAMES = {"unlearn": "✖ to forget", "retention": "● to keep"}
"""the scopes as pictures and small print call them"""
