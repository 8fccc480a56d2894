"""The cells of a run as matrices, rows × layers: what the report's script colours and a reader points at."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from core.localization.measures import MEASURES
from core.models import cells
from core.regions import Located
from core.runs.store import Run


def picture(run: Run) -> dict[str, Any] | None:
    """Return layers, rows and a matrix a measure (None where a cell has no value); None where nothing was localized.

    `outline` is the region's border as line segments in cells; `dead` are the cells without a gradient.
    """
    table, region = run.table("localization"), run.json("region.json")
    needed = {"name", "layer", "module", "factor", "has_gradient"}
    if table is None or table.empty or not needed <= set(table.columns):
        return None
    tensors = region.get("tensors") if isinstance(region, dict) else None
    inside = table["name"].isin(set(map(str, tensors or ()))).to_numpy()
    moved = run.table("changes")
    if moved is not None and {"name", "norm_change"} <= set(moved.columns):
        table = table.merge(moved[["name", "norm_change"]].drop_duplicates("name"), on="name", how="left")
    layout = cells.layout(table)
    names = cells.labels(module for _, module in layout.rows)
    x, y = cells.outline(np.nan_to_num(layout.matrix(table, inside.astype(float))) > 0, cells.INSET)
    return {
        "layers": [int(layer) for layer in layout.layers],
        "rows": [{"at": at, "name": f"{names[module]} {factor}"} for (factor, module), at in layout.rows.items()],
        "measures": {
            key: {"title": m.label, "what": m.help, "z": _rounded(layout.matrix(table, table[m.column].to_numpy(float)))}
            for key, m in MEASURES.items()
            if m.column in table.columns
        },
        "inside": _rounded(layout.matrix(table, inside.astype(float))),
        "outline": {"x": x, "y": y},
        "dead": _dead(table, layout),
        "auc": _separability(run, layout.layers),
    }


def thresholds(run: Run) -> dict[str, Any] | None:
    """Return what a browser needs to apply the paper's thresholds: a value a tensor, its cell, and μ and σ to begin with.

    They are the run's own where its rule has some, else its medians. None where the run has not got these statistics.
    """
    table, region = run.table("localization"), run.json("region.json")
    if table is None or not {"cos", "mag_unlearn", "has_gradient", "rows", "columns"} <= set(table.columns):
        return None
    if not table["has_gradient"].any():
        return None
    x, y = cells.layout(table).positions(table)
    limits = region.get("limits") if isinstance(region, dict) else None
    rule = region.get("rule") if isinstance(region, dict) else None
    by_rule = isinstance(rule, dict) and rule.get("name") == Located.name
    own = limits if by_rule and isinstance(limits, list) and len(limits) == 2 else None
    mu, sigma = own or Located().limits(table)
    live = table["has_gradient"].to_numpy(bool)
    return {
        "cos": table["cos"].tolist(),  # every digit: a threshold may lie between two values
        "mag": table["mag_unlearn"].tolist(),
        "live": live.astype(int).tolist(),
        "drawn": (live & (table["mag_unlearn"] > 0).to_numpy(bool)).astype(int).tolist(),
        "size": (table["rows"] * table["columns"]).tolist(),
        "x": x.tolist(),
        "y": y.tolist(),
        "mu": float(mu),
        "sigma": float(sigma),
        "own": own is not None,
        "inset": cells.INSET,
    }


def _dead(table: pd.DataFrame, layout: cells.Layout) -> dict[str, list[int]]:
    without = table[~table["has_gradient"].to_numpy(bool)]
    x, y = layout.positions(without) if len(without) else (np.array([]), np.array([]))
    return {"x": [int(v) for v in x], "y": [int(v) for v in y]}


def _separability(run: Run, layers: list[int]) -> list[float | None]:
    """Return for each layer how well its input tells the scopes' questions apart (AUC); empty where not measured.

    On questions that the probe was not fitted on; in folds of those it was, where a run has no others.
    """
    measured = run.table("separability")
    if measured is None or not {"layer", "auc"} <= set(measured.columns):
        return []
    column = "val" if "val" in measured.columns else "auc"
    aucs = dict(zip(measured["layer"].astype(int), measured[column].astype(float), strict=True))
    return [significant(aucs[layer]) if layer in aucs else None for layer in layers]


def _rounded(grid: np.ndarray) -> list[list[float | None]]:
    return [[significant(value) for value in row] for row in grid.tolist()]


def significant(value: float) -> float | None:
    """Round to five significant digits, which is more than a colour shows; None for what is no number."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
