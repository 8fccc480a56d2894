"""A thin line along the heatmap's layers: how well what each layer reads tells the two scopes' questions apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dashboard.charts.base import Figure, axis
from dashboard.charts.palette import Palette

HEIGHT = 52
"""pixels that the strip adds to the heatmap"""
GUESSING = 0.5
HELP = (
    "How well a straight cut tells questions to be forgotten from questions to be kept, judging by what this layer reads at "
    "the question's end: 1 never errs, 0.5 is guessing. It is drawn on train questions alone and tested on those that it "
    "was not drawn on, in turns; the band spans its worst and its best turn."
)
SAID = "The line on top: how well each layer tells questions to be forgotten from those to be kept."
FORMULA = (
    "separability.parquet: AUC of a ridge regression “U or R?” on the hidden state that a layer reads at the "
    "question's last token, "
    "mean of five folds of the train questions"
)


def usable(table: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return layer, auc, low and high as numbers by layer; None where a run has no such table, or another one of that
    name.
    """
    columns = ["layer", "auc", "low", "high"]
    if table is None or not set(columns) <= set(table):
        return None
    values = table[columns].apply(pd.to_numeric, errors="coerce").replace([np.inf, -np.inf], np.nan).dropna()
    return None if values.empty else values.drop_duplicates("layer").set_index("layer")


def strip(fig: Figure, table: pd.DataFrame, layers: Sequence[int], palette: Palette, domain: tuple[float, float]) -> None:
    """Draw the line and its band on an axis of their own above the heatmap's bars.

    table: what `usable` gave. Drawn last: the page's script counts the scatter traces before it.
    """
    values = table.reindex(list(layers))
    x = list(range(len(layers)))
    indices = [i for i in x if not np.isnan(values["auc"].iloc[i])]
    floor = min(GUESSING, float(values["low"].min())) if indices else GUESSING
    fig.add_scatter(
        x=[*indices, *indices[::-1]],
        y=[*values["high"].iloc[indices], *values["low"].iloc[indices[::-1]]],
        yaxis="y3",
        mode="lines",
        fill="toself",
        fillcolor=palette.muted,
        opacity=0.22,
        line={"width": 0},
        hoverinfo="skip",
        name="separability folds",
    )
    texts = [
        (
            f"<b>layer {layer}</b><br>tells the scopes' questions apart: {row.auc:.2f}<br>worst and best turn "
            f"{row.low:.2f} to {row.high:.2f}"
        )
        for layer, row in zip(layers, values.itertuples(index=False), strict=True)
    ]
    fig.add_scatter(
        x=x,
        y=values["auc"].tolist(),
        yaxis="y3",
        mode="lines+markers",
        line={"color": palette.text, "width": 1.5},
        marker={"size": 4, "color": palette.text},
        text=texts,
        hovertemplate="%{text}<extra></extra>",
        name="separability",
        connectgaps=False,
    )
    fig.update_layout(
        yaxis3=axis(
            palette,
            domain=list(domain),
            range=[floor - 0.06, 1.06],
            tickvals=[GUESSING, 1],
            ticktext=["AUC .5", "1"],
            anchor="x",
            ticklabelstandoff=6,
        )
    )


def summary(table: pd.DataFrame | None, layers: Sequence[int]) -> str:
    """Say in one sentence where the scopes are told apart best; nothing where it is not known."""
    values = pd.Series(dtype=float) if table is None else table["auc"].reindex(list(layers)).dropna()
    if values.empty:
        return ""
    return f"A straight cut tells the scopes' questions apart best at layer {values.idxmax()} (AUC {values.max():.2f})."
