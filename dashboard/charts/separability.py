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
SPLITS = ("val", "dev")
"""questions that the cut was not fitted on: the first of these that a run has"""
HELP = (
    "How well a straight cut tells questions to be forgotten from questions to be kept, judging by what this layer reads at "
    "the question's end: 1 never errs, 0.5 is guessing. "
)
HELD, FOLDS = (
    "It is fitted on train questions and tested on questions it was not fitted on; the band is the 95 % interval.",
    "This run has no other questions than those of train: it is fitted on four fifths of them and tested on the rest, in "
    "turns. They are much alike, so this flatters. The band spans its worst and its best turn.",
)
SAID = "The line on top: how well each layer tells questions to be forgotten from those to be kept, "
ON_HELD, ON_FOLDS = "on questions it was not fitted on.", "in turns within train."
FORMULA = (
    "separability.parquet: AUC of a ridge regression “U or R?” on the hidden state that a layer reads at the "
    "question's last token, fitted on train questions, "
)
FROM_HELD, FROM_FOLDS = "measured on new ones", "mean of five folds of them"


def is_held(table: pd.DataFrame) -> bool:
    """Say whether what `usable` gave was measured on questions that the cut was not fitted on."""
    return bool(table["held"].all())


def help_text(table: pd.DataFrame) -> str:
    """Explain the line."""
    return HELP + (HELD if is_held(table) else FOLDS)


def said(table: pd.DataFrame) -> str:
    """Say below the picture what the line is."""
    return SAID + (ON_HELD if is_held(table) else ON_FOLDS)


def formula(table: pd.DataFrame) -> str:
    """Say where its numbers are from."""
    return FORMULA + (FROM_HELD if is_held(table) else FROM_FOLDS)


def usable(table: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return auc, low and high as numbers by layer, and held: whether they are of questions that the cut was not fitted on.

    None where a run has no such table, or another one of that name.
    """
    shown = ["layer", "auc", "low", "high"]
    for held, columns in [(True, ["layer", s, f"{s}_low", f"{s}_high"]) for s in SPLITS] + [(False, shown)]:
        if table is not None and set(columns) <= set(table):
            values = table[columns].apply(pd.to_numeric, errors="coerce").replace([np.inf, -np.inf], np.nan).dropna()
            if not values.empty:
                return values.set_axis(shown, axis=1).drop_duplicates("layer").set_index("layer").assign(held=held)
    return None


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
    band = "95 % interval" if is_held(table) else "worst and best turn"
    texts = [
        (
            f"<b>layer {layer}</b><br>tells the scopes' questions apart: {row.auc:.2f}<br>{band} "
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
    where = " on questions it was not fitted on" if table is not None and is_held(table) else ""
    return (
        f"A straight cut tells the scopes' questions apart best at layer {values.idxmax()}{where} (AUC {values.max():.2f})."
    )
