"""Where the cells of a localization stand: layers from left to right, modules (and factors) from top to bottom. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

JOINED = "A+B"
INSET = 0.09
"""how far within its cells a region's outline runs, in cells"""
OUTSIDE = -1
"""layer of a module that lies in none: OPT's project_in and project_out"""


@dataclass(frozen=True)
class Layout:
    """Positions of layers and rows; a gap of one row separates the factors."""

    layers: list[int]
    rows: dict[tuple[str, str], int]
    """(factor, module) -> position"""

    def ticks(self) -> dict[str, list[Any]]:
        """Return where an axis of layers is labelled, and with what: every layer of a few, every fifth of many."""
        shown = range(0, len(self.layers), 1 if len(self.layers) <= 16 else 5)
        return {"tickvals": list(shown), "ticktext": [number(self.layers[i]) for i in shown]}

    def positions(self, cells: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return the x and y positions of cells."""
        at = {layer: position for position, layer in enumerate(self.layers)}
        x = cells["layer"].map(at).to_numpy()
        y = np.array([self.rows[key] for key in zip(cells["factor"], cells["module"], strict=True)])
        return x, y

    def matrix(self, cells: pd.DataFrame, values: Iterable[float]) -> np.ndarray:
        """Return values as rows × layers, NaN where there is no cell."""
        grid = np.full((max(self.rows.values()) + 1, len(self.layers)), np.nan)
        x, y = self.positions(cells)
        grid[y, x] = np.fromiter(values, float, len(cells))
        return grid


def layer_and_module(path: str) -> tuple[int, str]:
    """Return (layer, module) of a weight: the first integer of its path (-1 where there is none), and what follows it."""
    parts = path.split(".")
    at = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    return (-1, path) if at is None else (int(parts[at]), ".".join(parts[at + 1 :]))


def layout(cells: pd.DataFrame) -> Layout:
    """Lay out the cells of a table."""
    modules = list(dict.fromkeys(cells["module"]))
    rows: dict[tuple[str, str], int] = {}
    position = 0
    for factor in sorted(set(cells["factor"])):
        present = set(cells.loc[cells["factor"] == factor, "module"])
        for module in modules:
            if module in present:
                rows[factor, module] = position
                position += 1
        position += 1
    return Layout(sorted(set(cells["layer"])), rows)


def joined(table: pd.DataFrame) -> pd.DataFrame:
    """Join the factors of each module into one cell, exactly as if their gradients were one long vector.

    Dot products and squared norms add; mean magnitudes are weighted by the number of elements. `name` becomes that of
    the factor with the largest divergence, which stands for the cell when it is clicked.
    """
    t = table.assign(
        dot=table["cos"].fillna(0) * table["norm_unlearn"] * table["norm_retain"],
        u2=table["norm_unlearn"] ** 2,
        r2=table["norm_retain"] ** 2,
        size=table["rows"] * table["columns"],
    )
    t["change2"] = t["norm_change"] ** 2 if "norm_change" in t else math.nan
    t["mu_size"], t["mr_size"] = t["mag_unlearn"] * t["size"], t["mag_retain"] * t["size"]
    best = t.sort_values("divergence", ascending=False).drop_duplicates(["layer", "module"])
    names = best.set_index(["layer", "module"])["name"]
    sums = t.groupby(["layer", "module"], sort=False)[["dot", "u2", "r2", "size", "mu_size", "mr_size", "change2"]].sum()
    out = pd.DataFrame(index=sums.index)
    out["name"], out["factor"] = names, JOINED
    out["has_gradient"] = t.groupby(["layer", "module"], sort=False)["has_gradient"].any()
    out["norm_unlearn"], out["norm_retain"] = np.sqrt(sums["u2"]), np.sqrt(sums["r2"])
    product = out["norm_unlearn"] * out["norm_retain"]
    out["cos"] = (sums["dot"] / product.where(product > 0)).where(out["has_gradient"])
    out["mag_unlearn"], out["mag_retain"] = sums["mu_size"] / sums["size"], sums["mr_size"] / sums["size"]
    out["divergence"] = (1 - out["cos"]) * out["mag_unlearn"]
    if "norm_change" in table:
        out["norm_change"] = np.sqrt(sums["change2"])
    for score in (str(column) for column in table if str(column).startswith("score_")):
        out[score] = t.groupby(["layer", "module"], sort=False)[score].first()  # both factors have their module's
    return out.reset_index()


def tensors_of(name: str, cells: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return the tensors of the cell with a name: its own row, or those of all its factors where they are joined."""
    row = table[table["name"] == name]
    if cells["factor"].iloc[0] != JOINED:
        return row
    return table[(table["layer"] == row["layer"].iloc[0]) & (table["module"] == row["module"].iloc[0])]


def selected(cells: pd.DataFrame, table: pd.DataFrame, region: Iterable[str]) -> list[tuple[str, ...]]:
    """Return, for each cell shown, the factors of those of its tensors that are in the region: one, or up to two of a joined
    cell.
    """
    by = ["layer", "module"] if cells["factor"].iloc[0] == JOINED else ["layer", "module", "factor"]
    inside = table[table["name"].isin(set(region))]
    factors: dict[tuple[Any, ...], tuple[str, ...]] = {}
    for key, factor in zip(inside[by].itertuples(index=False, name=None), inside["factor"], strict=True):
        factors[key] = (*factors.get(key, ()), factor)
    return [factors.get(key, ()) for key in cells[by].itertuples(index=False, name=None)]


def outline(inside: np.ndarray, inset: float = 0.0) -> tuple[list[float | None], list[float | None]]:
    """Return the border of a boolean matrix as line segments around its cells, for a trace with gaps.

    inset: how far within the cells it runs, in cells, so that it is seen on which side of it they lie.
    """
    x: list[float | None] = []
    y: list[float | None] = []
    padded, reach = np.pad(inside, 1), 0.5 - inset
    for row, column in zip(*np.nonzero(inside), strict=True):
        r, c = row + 1, column + 1
        for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            if padded[r + dy, c + dx]:
                continue
            # At either end: a corner that points outwards, one that points inwards, or the next cell's side goes on.
            ends = []
            for s in (-1, 1):
                along, across = (
                    (padded[r, c + s], padded[r + dy, c + s]) if dy else (padded[r + s, c], padded[r + s, c + dx])
                )
                ends.append(s * (reach if not along else 0.5 + inset if across else 0.5))
            if dy:
                x += [column + ends[0], column + ends[1], None]
                y += [row + dy * reach, row + dy * reach, None]
            else:
                x += [column + dx * reach, column + dx * reach, None]
                y += [row + ends[0], row + ends[1], None]
    return x, y


def labels(modules: Iterable[str]) -> dict[str, str]:
    """Return the shortest end of each module's path that no other has: q_proj, but experts.0.w1 among other experts' w1."""
    paths = {module: _plain(module) for module in modules}
    ends: dict[str, str] = {}
    for module, path in paths.items():
        parts = path.split(".")
        for length in range(1, len(parts) + 1):
            ends[module] = ".".join(parts[-length:])
            alone = not any(other != path and f".{other}".endswith(f".{ends[module]}") for other in paths.values())
            if alone and not parts[-length].isdigit():
                break
    return ends


def number(layer: int) -> str:
    """Write a layer's number, a dash for what lies in none."""
    return "–" if layer == OUTSIDE else str(layer)


def at(layer: int) -> str:
    """Say in which layer something lies."""
    return "outside the layers" if layer == OUTSIDE else f"layer {layer}"


def called(cell: pd.Series | Mapping[Any, Any]) -> str:
    """Return what a cell, a row of a table, is called among others: layer 3 · q_proj · B."""
    factor = "" if cell["factor"] == JOINED else f" · {cell['factor']}"
    return f"{at(cell['layer'])} · {short(cell['module'])}{factor}"


def span(layers: pd.Series) -> str:
    """Say over which layers things are spread."""
    within = layers[layers != OUTSIDE]
    return f"in layers {within.min()} to {within.max()}" if len(within) else at(OUTSIDE)


def short(module: str) -> str:
    """Return the last part of a module path: q_proj."""
    return _plain(module).rsplit(".", 1)[-1]


def _plain(module: str) -> str:
    """Return a path without the name of the tensor that some have at their end: the router gate of gate.weight."""
    return module.removesuffix(".weight")
