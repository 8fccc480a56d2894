"""Layers × modules: the cells of a localization, coloured by one of its measures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from core.localization.measures import MEASURES
from core.models import cells as cells_
from dashboard.charts import separability as separability_
from dashboard.charts.base import Figure, axis, figure
from dashboard.charts.palette import Palette, Scale
from dashboard.text import chart_text, number

FRAME = 60
"""pixels of a figure's height that are margins and the names of layers"""
ROW, JOINED_ROW = 20, 28
"""pixels of a row of cells, and of one that both factors share"""
TALLEST = 1000
"""pixels: many rows share this height instead of growing the page"""


@dataclass(frozen=True)
class Ruler:
    """How values become colours."""

    logarithmic: bool = True
    """for everything but the cosine, which may be negative"""
    intensity: float = 1.0
    """above 1 brings out small values, below 1 only the largest ones"""


def heatmap(
    table: pd.DataFrame,
    measure: str,
    region: Collection[str],
    chosen: str | None,
    palette: Palette,
    *,
    join: bool = False,
    joined: pd.DataFrame | None = None,
    ruler: Ruler = Ruler(),
    separability: pd.DataFrame | None = None,
    other: Collection[str] = (),
    ends: tuple[float, float] | None = None,
) -> Figure:
    """Draw the cells, each in the colour of its own value; the region and the chosen cell are outlined.

    table: a row a tensor, as the run recorded it; for "change" with the column norm_change of changes.parquet. region:
    tensor names; other: of another region, dotted. joined: what `cells.joined` makes of the table, where that is known.
    separability: of `separability.usable`, drawn above. ends: of the
    colours, as `common` returns them; else those of the data. Traces have names, by which the page's script finds what it
    repaints while a threshold is dragged.
    """
    shown = table if not join else cells_.joined(table) if joined is None else joined
    layout = cells_.layout(shown)
    chosen_factors = cells_.selected(shown, table, region)
    counts = np.array([len(factors) for factors in chosen_factors], float)
    values, scale = _values(shown, measure, counts, palette, ruler, ends)
    live = shown["has_gradient"].to_numpy(bool)
    values = np.where(live | (measure == "change"), values, np.nan)
    inside = counts > 0
    matrix = layout.matrix(shown, values)
    height = (len(layout.rows) + (0 if join else 1)) * (JOINED_ROW if join else ROW) + 150
    extra = separability_.HEIGHT if separability is not None else 0
    fig = figure(palette, min(height, TALLEST) + extra, dragmode=False, clickmode="event", bargap=0.25)
    gap = 2 if len(layout.layers) <= 48 and height <= TALLEST else 0.5
    names, texts = _labels(shown, layout, chosen_factors)
    fig.add_heatmap(
        z=matrix,
        colorbar=_colorbar(values, measure, palette, ruler),
        showscale=measure != "region",
        name="all",
        customdata=names,
        text=texts,
        hovertemplate="%{text}<extra></extra>",
        xgap=gap,
        ygap=gap,
        hoverongaps=False,
        **scale,
    )
    _hatch(fig, shown, layout, live, palette)
    # An edge in the page's colour keeps the line apart from cells that are as dark.
    for color, width, name in ((palette.background, 5, "outline edge"), (palette.text, 2, "outline")):
        _lines(fig, _cells(layout, shown, inside), {"color": color, "width": width}, name, cells_.INSET)
    if other:
        others = [bool(factors) for factors in cells_.selected(shown, table, other)]
        dotted = {"color": palette.text, "width": 1.5, "dash": "dot"}
        _lines(fig, _cells(layout, shown, others), dotted, "other", 2.5 * cells_.INSET)
    _marginals(fig, shown, counts, layout, palette)
    if chosen in set(shown["name"]):
        _lines(fig, _cells(layout, shown, shown["name"] == chosen), {"color": palette.accent, "width": 3}, "chosen")
    elif chosen is not None and join:
        _outline_joined(fig, shown, table, chosen, layout, palette)
    below = 1 - extra / (min(height, TALLEST) + extra - FRAME)
    if separability is not None:
        separability_.strip(fig, separability, layout.layers, palette, (below + 0.025, 1))
    return _axes(fig, layout, palette, join, below)


def _labels(
    shown: pd.DataFrame, layout: cells_.Layout, inside: Sequence[tuple[str, ...]]
) -> tuple[list[list[Any]], list[list[Any]]]:
    """Return the cells' names and hover texts as rows × layers."""
    height, width = max(layout.rows.values()) + 1, len(layout.layers)
    names: list[list[Any]] = [[None] * width for _ in range(height)]
    texts: list[list[Any]] = [[""] * width for _ in range(height)]
    x, y = layout.positions(shown)
    for row, within, column, line in zip(shown.to_dict("records"), inside, x, y, strict=True):
        names[line][column], texts[line][column] = row["name"], _hover(row, within)
    return names, texts


def common(tables: Sequence[pd.DataFrame], measure: str, palette: Palette, *, join: bool) -> tuple[float, float]:
    """Return the ends of one scale for several maps, in the unit of the colours."""
    shown = [cells_.joined(table) if join else table for table in tables]
    scales = [_values(cells, measure, np.zeros(len(cells)), palette, Ruler())[1] for cells in shown]
    return min(scale["zmin"] for scale in scales), max(scale["zmax"] for scale in scales)


def _values(
    shown: pd.DataFrame,
    measure: str,
    counts: np.ndarray,
    palette: Palette,
    ruler: Ruler,
    ends: tuple[float, float] | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    if measure == "region":
        two: Scale = [(0.0, palette.surface), (1.0, palette.accent)]
        return counts, {"colorscale": two, "zmin": 0, "zmax": 2 if shown["factor"].iloc[0] == cells_.JOINED else 1}
    values = shown[MEASURES[measure].column].to_numpy(float)
    if measure == "cosine":
        ends = ends or ((np.nanmin(values), np.nanmax(values)) if np.isfinite(values).any() else (-1, 1))
        # What is shared least is what one looks for: as dark as a strong pull.
        least: Scale = [(1 - position, color) for position, color in reversed(palette.apart)]
        return values, {"colorscale": least, "zmin": ends[0], "zmax": max(ends[1], ends[0] + 1e-9)}
    colors = palette.apart if measure in ("divergence", "change") else palette.size
    scale = {"colorscale": intensified(colors, ruler.intensity)}
    if not ruler.logarithmic:
        top = ends[1] if ends else float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
        return values, scale | {"zmin": 0, "zmax": max(top, 1e-30)}
    positive = np.log10(np.where(values > 0, values, np.nan))
    low, high = ends or ((np.nanmin(positive), np.nanmax(positive)) if np.isfinite(positive).any() else (0, 1))
    # A measured 0 is the smallest, not missing; an unchanged cell is neither: it has no colour.
    filled = positive if measure == "change" else np.where(np.isnan(positive), low, positive)
    return filled, scale | {"zmin": low, "zmax": max(high, low + 1e-9)}


def intensified(scale: Scale, intensity: float) -> Scale:
    """Return a colour scale whose positions are raised to a power: the same colours, met earlier or later."""
    return [(position**intensity, color) for position, color in scale]


def _colorbar(values: np.ndarray, measure: str, palette: Palette, ruler: Ruler) -> dict[str, Any]:
    bar: dict[str, Any] = {
        "orientation": "h",
        "thickness": 8,
        "len": 0.32,
        "x": 0.93,
        "tickangle": 0,
        "xanchor": "right",
        "y": 0,
        "yanchor": "top",
        "ypad": 34,
        "outlinewidth": 0,
        "tickfont": {"size": 12, "color": palette.muted},
    }
    if not np.isfinite(values).any():  # no cell changed
        return bar | {"tickvals": []}
    low, high = np.nanmin(values), np.nanmax(values)
    if measure == "cosine":
        return bar | {"tickvals": [low, high], "ticktext": [f"{low:.2f}".replace("-", "−"), f"{high:.2f}"]}
    if not ruler.logarithmic:
        return bar | {"tickvals": [0, high], "ticktext": ["0", number(high)]}
    return bar | {"tickvals": [low, high], "ticktext": [number(10**low), number(10**high)]}


def _hatch(fig: Figure, shown: pd.DataFrame, layout: cells_.Layout, live: np.ndarray, palette: Palette) -> None:
    dead = shown[~live]
    if dead.empty:
        return
    x, y = layout.positions(dead)
    marker = {"symbol": "line-ne-open", "size": 12, "color": palette.muted, "line": {"width": 1}, "opacity": 0.7}
    fig.add_scatter(x=x, y=y, mode="markers", marker=marker, hoverinfo="skip", name="no gradient")


def _cells(layout: cells_.Layout, shown: pd.DataFrame, inside: Iterable[bool]) -> np.ndarray:
    return np.nan_to_num(layout.matrix(shown, inside)) > 0


def _lines(fig: Figure, inside: np.ndarray, line: Mapping[str, Any], name: str, inset: float = 0.0) -> None:
    x, y = cells_.outline(inside, inset)
    fig.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", name=name)


def _outline_joined(
    fig: Figure, shown: pd.DataFrame, table: pd.DataFrame, chosen: str, layout: cells_.Layout, palette: Palette
) -> None:
    row = table[table["name"] == chosen]
    if not row.empty:
        same = (shown["layer"] == row["layer"].iloc[0]) & (shown["module"] == row["module"].iloc[0])
        _lines(fig, _cells(layout, shown, same), {"color": palette.accent, "width": 3}, "chosen")


def _marginals(fig: Figure, shown: pd.DataFrame, counts: np.ndarray, layout: cells_.Layout, palette: Palette) -> None:
    grid = layout.matrix(shown, counts)
    for sums, along in ((np.nansum(grid, 0), "layer"), (np.nansum(grid, 1), "row")):
        positions = np.arange(len(sums))
        # Not "skip": what plotly skips cannot be clicked, and a bar is a whole layer or module.
        common = {"marker": {"color": palette.accent, "opacity": 0.55}, "hoverinfo": "none"}
        if along == "layer":
            fig.add_bar(x=positions, y=sums, yaxis="y2", name="layers", **common)
        else:
            fig.add_bar(x=sums, y=positions, xaxis="x2", orientation="h", name="modules", **common)


def _hover(row: Mapping[Any, Any], within: Sequence[str]) -> str:
    factor = "" if row["factor"] == cells_.JOINED else f" · {chart_text(row['factor'])}"
    title = f"<b>{cells_.at(row['layer'])} · {chart_text(row['module'])}{factor}</b><br>"
    if not row["has_gradient"]:
        return f"{title}no gradient: cannot be chosen"
    held, called = row.get(MEASURES["held"].column), MEASURES["held"].label.lower()
    return (
        f"{title}{f'{called} {number(held)}<br>' if held is not None and held == held else ''}"
        f"shared {row['cos']:.3f} (cosine)<br>pull to forget {number(row['mag_unlearn'])}<br>"
        f"pull to keep {number(row['mag_retain'])}<br>pull not shared {number(row['divergence'])}<br>"
        f"{_moved(row)}"
        f"{_membership(row, within)}"
    )


def _membership(row: Mapping[Any, Any], within: Sequence[str]) -> str:
    if row["factor"] != cells_.JOINED or not within:
        return "in the region" if within else "outside the region"
    names = " and ".join(map(chart_text, within))
    return f"in the region: {names}" if len(within) > 1 else f"in the region: {names} only"


def _moved(row: Mapping[Any, Any]) -> str:
    change = row.get("norm_change")
    return "" if change is None or change != change else f"change {number(change)} (‖Δθ‖)<br>"


def _axes(fig: Figure, layout: cells_.Layout, palette: Palette, join: bool, below: float) -> Figure:
    """Place the cells, and the bars beside and above them; `below`: share of the height under the strip."""
    rows, last = layout.rows, max(layout.rows.values())
    names = cells_.labels(module for _, module in rows)
    fig.update_layout(
        xaxis=axis(
            palette, "layer", domain=[0, 0.93], range=[-0.6, len(layout.layers) - 0.4], showgrid=False, **layout.ticks()
        ),
        yaxis=axis(
            palette,
            domain=[0, 0.9 * below],
            range=[last + 0.6, -0.6],
            showgrid=False,
            tickvals=list(rows.values()),
            ticktext=[_label(factor, names[module], join) for factor, module in rows],
            ticks="",
            ticklabelstandoff=6,
        ),
        xaxis2=axis(palette, domain=[0.94, 1], showticklabels=False, showgrid=False, anchor="y"),
        yaxis2=axis(palette, domain=[0.91 * below, below], showticklabels=False, showgrid=False, anchor="x"),
    )
    return fig


def _label(factor: str, name: str, join: bool) -> str:
    return chart_text(name) if join else f"{chart_text(name)} <b>{chart_text(factor)}</b>"


def summary(table: pd.DataFrame, measure: str, region: Collection[str]) -> str:
    """Say in one sentence what the picture shows, for those who do not see it."""
    inside = table[table["name"].isin(set(region))]
    if inside.empty:
        return f"{MEASURES[measure].label} of {len(table)} adapter tensors by layer and module; the region is empty."
    top = inside["module"].map(cells_.short).mode().iloc[0]
    return (
        f"{MEASURES[measure].label} of {len(table)} adapter tensors by layer and module. The region has "
        f"{len(inside)} tensors "
        f"{cells_.span(inside['layer'])}, most of them {top}."
    )
