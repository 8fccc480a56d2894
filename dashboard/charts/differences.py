"""Two localizations on one grid: where they differ, and which cells only one of them selects."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from core.localization.measures import MEASURES
from core.models import cells as cells_
from dashboard.charts.base import Figure, axis, figure
from dashboard.charts.palette import Palette, Scale
from dashboard.text import chart_text, number

KINDS = {name: MEASURES[name].label for name in ("cosine", "forget", "retain")} | {"region": "Regions"}
MEMBERS = ("in neither", "only in the other", "only in this one", "in both")


def difference(
    first: pd.DataFrame,
    second: pd.DataFrame,
    kind: str,
    regions: tuple[Collection[str], Collection[str]],
    palette: Palette,
    *,
    join: bool = False,
) -> Figure:
    """Draw this run minus the other, cell by cell.

    first, second: aligned localization tables. Magnitudes are compared as log10 of their ratio: runs of other data have
    another scale. kind "region" shows membership in the two regions instead. join: a cell is a module, not a factor of one;
    it is in a region that has any of its factors.
    """
    if join:
        # The regions in names of the joined cells, which are those of one of their factors each.
        shown, other = cells_.joined(first), cells_.joined(second)
        inside = [cells_.selected(shown, first, region) for region in regions]
        mine, theirs = ({name for name, factors in zip(shown["name"], each, strict=True) if factors} for each in inside)
        first, second, regions = shown, other, (mine, theirs)
    layout = cells_.layout(first)
    values, texts = _values(first, second, kind, regions)
    fig = figure(palette, min((len(layout.rows) + 1) * 22 + 110, 800))
    height, width = max(layout.rows.values()) + 1, len(layout.layers)
    labels: list[list[str]] = [[""] * width for _ in range(height)]
    x, y = layout.positions(first)
    for text, cell, column, row in zip(texts, first.to_dict("records"), x, y, strict=True):
        labels[row][column] = f"{chart_text(cells_.called(cell))}<br>{text}"
    fig.add_heatmap(
        z=layout.matrix(first, values),
        text=labels,
        hovertemplate="%{text}<extra></extra>",
        xgap=1,
        ygap=1,
        hoverongaps=False,
        **(_memberships(palette) if kind == "region" else _signed(values, palette)),
        name="difference",
    )
    few = len(layout.rows) <= 32
    names = cells_.labels(module for _, module in layout.rows)
    rows = {
        p: chart_text(names[module] if join else f"{names[module]} {factor}") for (factor, module), p in layout.rows.items()
    }
    fig.update_layout(
        xaxis=axis(palette, "layer", showgrid=False, **layout.ticks()),
        yaxis=axis(
            palette,
            showgrid=False,
            range=[height - 0.4, -0.6],
            tickvals=list(rows)[:: 1 if few else 4],
            ticktext=list(rows.values())[:: 1 if few else 4],
        ),
    )
    return fig


def _memberships(palette: Palette) -> dict[str, Any]:
    """Return a colour for each of MEMBERS."""
    steps = [palette.surface, palette.before, palette.retention, palette.accent]
    bands: Scale = [(position / 4, color) for i, color in enumerate(steps) for position in (i, i + 1)]
    ticks = {"tickvals": [0, 1, 2, 3], "ticktext": list(MEMBERS)}
    return {"colorscale": bands, "zmin": -0.5, "zmax": 3.5, "colorbar": _bar(palette, ticks)}


def _signed(values: np.ndarray, palette: Palette) -> dict[str, Any]:
    """Return colours for differences, alike on both sides of zero."""
    top = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    end = max(top, 1e-12)
    ends = [-top, 0, top] if top else [0]
    ticks = {"tickvals": ends, "ticktext": [number(value) for value in ends]}
    return {"colorscale": palette.signed, "zmin": -end, "zmax": end, "colorbar": _bar(palette, ticks)}


def _bar(palette: Palette, ticks: dict[str, Any]) -> dict[str, Any]:
    return {"thickness": 8, "outlinewidth": 0, "tickfont": {"size": 12, "color": palette.muted}, **ticks}


def numbers(
    first: pd.DataFrame, second: pd.DataFrame, kind: str, regions: tuple[Collection[str], Collection[str]]
) -> pd.DataFrame:
    """Return what the picture is drawn from, a row a tensor: both runs' values with their difference, and the two
    regions.
    """
    frame = first[["name", "layer", "module", "factor"]].assign(regions=_values(first, second, "region", regions)[1])
    if kind == "region":
        return frame
    column = MEASURES[kind].column
    return frame.assign(this=first[column], other=second[column], difference=_values(first, second, kind, regions)[0])


def _values(
    first: pd.DataFrame, second: pd.DataFrame, kind: str, regions: tuple[Collection[str], Collection[str]]
) -> tuple[np.ndarray, list[str]]:
    if kind == "region":
        mine, theirs = (first["name"].isin(set(region)).to_numpy(int) for region in regions)
        values = 2 * mine + theirs
        return values.astype(float), [MEMBERS[value] for value in values]
    column = MEASURES[kind].column
    ours, other = first[column].to_numpy(float), second[column].to_numpy(float)
    if kind == "cosine":
        values = ours - other
    else:
        values = np.full(len(ours), np.nan)
        # A tensor without a gradient has no ratio.
        both = (ours > 0) & (other > 0)
        values[both] = np.log10(ours[both] / other[both])
    return values, [f"this {number(a)}, other {number(b)}" for a, b in zip(ours, other, strict=True)]
