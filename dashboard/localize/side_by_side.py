"""Two runs' maps side by side: the same cells, the same colours on the same scale, and what each run is in words.

A click on a cell of either marks it in both, and in the map above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from core.localization.measures import MEASURES
from core.regions.words import words
from core.runs.store import Run
from dashboard.charts import heatmap as heatmap_
from dashboard.text import md
from dashboard.widgets import current_run, page_style
from dashboard.widgets.plot import columns_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Side:
    """One of both maps."""

    run: Run
    table: pd.DataFrame
    """a row a tensor, those that both runs have"""
    region: Sequence[str]
    """what is outlined"""
    own: bool
    """the run was made with it"""


def show(sides: tuple[Side, Side], measure: str, *, factors: bool) -> None:
    """Show both. measure: of MEASURES, the cosine where a run lacks it; factors: the rows are factors, not modules."""
    column = MEASURES[measure].column
    if column and not all(column in side.table for side in sides):
        measure = "cosine"
    palette = page_style.palette()
    ends = heatmap_.common([side.table for side in sides], measure, palette, join=not factors)
    for number, (place, side) in enumerate(zip(st.columns(2, gap="medium"), sides, strict=True)):
        chosen = st.session_state.get("cell")
        fig = heatmap_.heatmap(side.table, measure, side.region, chosen, palette, join=not factors, ends=ends)
        with place:
            st.markdown(f"**{md(current_run.label(side.run))}**  \n{md(in_words(side))}")
            page_style.chart(
                fig,
                heatmap_.summary(side.table, measure, side.region),
                f"side_{number}",
                on_click=_look,
                facts=page_style.where(side.run, "localize", "localization.parquet", MEASURES[measure].formula),
                columns=columns_of(side.table.assign(selected=side.table["name"].isin(set(side.region)))),
            )
    st.caption(f"Both are coloured by “{MEASURES[measure].label}”, on one scale. A click marks a cell in both.")


def in_words(side: Side) -> str:
    """Say with what a run was made, and what is outlined."""
    config = side.run.config()
    region = words(config.region) if side.own else "what is selected above"
    data = f"{current_run.tail(config.data.source)} {config.data.subset}"
    return f"Method {config.unlearn.method.label}; data {data}; seed {config.seed}. Outlined: {region}."


def _look(cell: object) -> None:
    if isinstance(cell, str):
        st.session_state["cell"] = cell
