"""How far two models lie apart, cell by cell: ‖Δθ‖, or its share of ‖θ‖."""

from __future__ import annotations

import numpy as np
import pandas as pd

from core.models import cells as cells_
from dashboard.charts.base import Figure, axis, figure
from dashboard.charts.palette import Palette
from dashboard.text import chart_text, number


def moved(table: pd.DataFrame, palette: Palette, *, relative: bool) -> Figure:
    """Draw log10 of each cell's change; one that did not change has no colour.

    table: a row a tensor with layer, module, factor (W), norm_before and norm_change (core/pipeline/weight_changes.py).
    relative: divided by norm_before, where that is not 0.
    """
    layout = cells_.layout(table)
    change = table["norm_change"].to_numpy(float)
    if relative:
        before = table["norm_before"].to_numpy(float)
        change = np.divide(change, before, out=np.full(len(change), np.nan), where=before > 0)
    values = np.log10(np.where(change > 0, change, np.nan))
    height, width = max(layout.rows.values()) + 1, len(layout.layers)
    texts = [[""] * width for _ in range(height)]
    x, y = layout.positions(table)
    for row, column, line in zip(table.to_dict("records"), x, y, strict=True):
        texts[line][column] = (
            f"<b>{cells_.at(row['layer'])} · {chart_text(row['module'])}</b><br>"
            f"‖Δθ‖ {number(row['norm_change'])}<br>‖θ‖ before {number(row['norm_before'])}"
        )
    numbers = values[np.isfinite(values)]
    low, high = (float(numbers.min()), float(numbers.max())) if len(numbers) else (0.0, 1.0)
    bar = {"thickness": 8, "outlinewidth": 0, "tickfont": {"size": 12, "color": palette.muted}}
    fig = figure(palette, min((len(layout.rows) + 1) * 27 + 90, 1000), dragmode=False)
    fig.add_heatmap(
        z=layout.matrix(table, values),
        text=texts,
        hovertemplate="%{text}<extra></extra>",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        colorscale=palette.apart,
        zmin=low,
        zmax=max(high, low + 1e-9),
        name="change",
        colorbar=bar | {"tickvals": [low, high] if len(numbers) else [], "ticktext": [number(10**low), number(10**high)]},
    )
    names = cells_.labels(module for _, module in layout.rows)
    labels = [chart_text(names[module]) for _, module in layout.rows]
    fig.update_layout(
        xaxis=axis(palette, "layer", showgrid=False, **layout.ticks()),
        yaxis=axis(
            palette, showgrid=False, range=[height - 0.4, -0.6], tickvals=list(layout.rows.values()), ticktext=labels
        ),
    )
    return fig


def summary(table: pd.DataFrame) -> str:
    """Say in one sentence what the picture shows."""
    changed = table[table["norm_change"] > 0]
    if changed.empty:
        return f"None of {len(table)} weight matrices differs between the two models."
    top = changed.sort_values("norm_change").to_dict("records")[-1]
    return (
        f"{len(changed)} of {len(table)} weight matrices differ between the two models, {cells_.span(changed['layer'])}; "
        f"most of all {cells_.at(top['layer'])}, {cells_.short(str(top['module']))}."
    )
