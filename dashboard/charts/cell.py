"""Inside one cell: how its gradients are distributed, and along which rows and columns they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.data.corpus import SCOPES
from dashboard.charts.base import SCOPE_NAMES, Figure, axis, figure, line_style, scope_marker
from dashboard.charts.palette import Palette
from dashboard.text import chart_text

MOST_TICKS = 16
"""heads that are named on the axis; a pointer tells the others"""


@dataclass(frozen=True)
class Inside:
    """What detail.npz holds about one cell, by scope."""

    limit: float
    """histograms reach from −limit to +limit"""
    histogram: Mapping[str, np.ndarray]
    rows: Mapping[str, np.ndarray]
    columns: Mapping[str, np.ndarray]
    heads: Mapping[str, np.ndarray]
    """root mean square per attention head; empty where the cell has none, or the run recorded none"""
    head_labels: Sequence[str] = ()
    """what each head is: 0, 1, … or, where queries, keys and values are made together, q0, k0, …"""


def take(detail: Mapping[str, np.ndarray], number: int) -> Inside:
    """Cut the cell with a number (its place in the localization table) out of the flat arrays of detail.npz."""
    row, column = detail["row_offsets"], detail["column_offsets"]
    return Inside(
        float(detail["range"][number]),
        {s: detail[f"histogram_{s}"][number] for s in SCOPES},
        {s: detail[f"rows_{s}"][row[number] : row[number + 1]] for s in SCOPES},
        {s: detail[f"columns_{s}"][column[number] : column[number + 1]] for s in SCOPES},
        *_heads(detail, number),
    )


def _heads(detail: Mapping[str, np.ndarray], number: int) -> tuple[dict[str, np.ndarray], list[str]]:
    if "head_offsets" not in detail:
        return {}, []
    start, stop = detail["head_offsets"][number : number + 2]
    return {s: detail[f"heads_{s}"][start:stop] for s in SCOPES}, detail["head_labels"][start:stop].tolist()


def histogram(inside: Inside, palette: Palette) -> Figure:
    """Draw both scopes' element gradients; counts are on a logarithmic axis, since most elements are near 0."""
    fig = figure(palette, 250, showlegend=True)
    for scope in SCOPES:
        counts = inside.histogram[scope]
        edges = np.linspace(-inside.limit, inside.limit, len(counts) + 1)
        fig.add_scatter(
            x=(edges[:-1] + edges[1:]) / 2,
            # 0 has no logarithm: a gap, where plotly would draw down to the axis.
            y=np.where(counts > 0, counts, np.nan),
            mode="lines",
            line=line_style(palette, scope) | {"shape": "hvh"},
            name=SCOPE_NAMES[scope],
            hovertemplate="%{y} elements near %{x:.2g}<extra></extra>",
        )
    fig.update_layout(
        xaxis=axis(palette, "gradient of an element", exponentformat="power", nticks=5),
        yaxis=axis(palette, "elements", type="log", exponentformat="power", dtick=1),
    )
    return fig


def profile(inside: Inside, side: str, palette: Palette) -> Figure:
    """Draw the root mean square gradient along the heads, rows or columns of a cell."""
    sides = {"row": inside.rows, "column": inside.columns, "head": inside.heads}
    names = [chart_text(name) for name in inside.head_labels] if side == "head" else []
    fig = figure(palette, 200)
    for scope in SCOPES:
        values = sides[side][scope]
        few = len(values) <= 64
        fig.add_scatter(
            x=np.arange(len(values)),
            y=values,
            mode="lines+markers" if few else "lines",
            name=SCOPE_NAMES[scope],
            line=line_style(palette, scope) | ({} if few else {"width": 1}),
            marker=scope_marker(scope, 7),
            text=names,
            hovertemplate=f"{side} %{{{'text' if names else 'x'}}}: %{{y:.3g}}<extra></extra>",
        )
    every = -(-len(names) // MOST_TICKS)
    ticks = {"tickvals": list(range(0, len(names), every)), "ticktext": names[::every]} if names else {}
    fig.update_layout(
        xaxis=axis(palette, side, **ticks), yaxis=axis(palette, exponentformat="power", nticks=4, rangemode="tozero")
    )
    return fig
