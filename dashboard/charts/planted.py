"""Layers × modules of one planting: where a score stands high, and where the facts were planted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from core.localization.plantings import RETENTION, ROLES, UNLEARN
from core.models import cells
from core.util.safe_read import number as known
from dashboard.charts.base import Figure, axis, figure
from dashboard.charts.palette import Palette
from dashboard.text import chart_text, number

ROW = 26
"""pixels of a row of cells"""
TALLEST = 800
HELD = {"unlearn": "facts to be forgotten", "retention": "facts to be kept", "decoy": "other facts"}
"""which of ROLES a module's facts have -> what it holds"""


def modules(planting: Mapping[str, Any], score: str) -> pd.DataFrame:
    """Return one row a module, as the model has them: name, layer, module, role, value (NaN where it has none), and its
    place by value, 1 for the highest.

    planting: as planting.json holds it, and readable.
    """
    names = [str(name) for name in planting["modules"]]
    table = pd.DataFrame([cells.layer_and_module(name) for name in names], columns=["layer", "module"])
    values = [known(value) for value in planting["scores"][score]]
    roles = [ROLES[min(int(known(number) or 0), 2)] for number in planting["sets"]]
    table = table.assign(name=names, factor=cells.JOINED, role=roles, value=pd.Series(values, dtype=float))
    return table.assign(place=table["value"].rank(ascending=False, method="first", na_option="bottom").astype(int))


@dataclass(frozen=True)
class Steps:
    """Where a threshold can stand, from above all modules down to below all: each step takes one value more."""

    counts: list[int]
    """modules at or above it"""
    hits: list[int]
    """of these, how many hold what is to be forgotten"""
    values: list[float | None]
    """of the lowest module at or above it; None above all of them, and where it has none"""

    def at(self, size: int) -> int:
        """Return the number of the step that takes about so many modules."""
        return int(np.argmin([abs(count - size) for count in self.counts]))


def steps(table: pd.DataFrame) -> Steps:
    """Return the steps of a threshold over what `modules` returns. No threshold parts modules of one value."""
    ranked = table.sort_values("place")
    values, hits = ranked["value"].to_numpy(float), (ranked["role"] == UNLEARN).cumsum().tolist()
    # NaN differs from NaN, but all of these come last, together.
    same = (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    counts = [*(np.flatnonzero(~same) + 1).tolist(), len(values)]
    lowest = [None if np.isnan(values[count - 1]) else float(values[count - 1]) for count in counts]
    return Steps([0, *counts], [0, *(hits[count - 1] for count in counts)], [None, *lowest])


def heatmap(table: pd.DataFrame, palette: Palette) -> Figure:
    """Draw the modules, the stronger in colour the higher their place, with outlines where something is to be forgotten or
    kept.
    """
    layout = cells.layout(table)
    height, width = max(layout.rows.values()) + 1, len(layout.layers)
    texts: list[list[str]] = [[""] * width for _ in range(height)]
    x, y = layout.positions(table)
    for row, column, line in zip(table.to_dict("records"), x, y, strict=True):
        texts[line][column] = (
            f"<b>{cells.at(row['layer'])} · {chart_text(row['module'])}</b><br>place {row['place']} of {len(table)}, "
            f"score {number(row['value'])}<br>learnt {HELD[row['role']]}"
        )
    places = (len(table) - table["place"]).where(table["value"].notna())
    fig = figure(palette, min((height + 1) * ROW + 60, TALLEST))
    fig.add_heatmap(
        z=layout.matrix(table, places),
        text=texts,
        hovertemplate="%{text}<extra></extra>",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        colorscale=palette.size,
        zmin=0,
        zmax=max(len(table) - 1, 1),
        showscale=False,
        name="modules",
    )
    for role, line in (
        (RETENTION, {"color": palette.text, "width": 1.5, "dash": "dot"}),
        (UNLEARN, {"color": palette.accent, "width": 3}),
    ):
        inside = np.nan_to_num(layout.matrix(table, table["role"] == role)) > 0
        around_x, around_y = cells.outline(inside, 0.09)
        fig.add_scatter(x=around_x, y=around_y, mode="lines", line=line, hoverinfo="skip", name=role)
    names = cells.labels(module for _, module in layout.rows)
    fig.update_layout(
        xaxis=axis(palette, "layer", showgrid=False, range=[-0.6, width - 0.4], **layout.ticks()),
        yaxis=axis(
            palette,
            showgrid=False,
            range=[height - 0.4, -0.6],
            tickvals=list(layout.rows.values()),
            ticktext=[chart_text(names[module]) for _, module in layout.rows],
        ),
    )
    return fig
