"""What the page Localize is opened on: a run's cells, and what of them is selected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from core.models import cells as cells_
from core.regions.words import words
from core.runs.store import Run
from dashboard.localize import selection_state
from dashboard.widgets import current_run, page_style, selection
from dashboard.widgets.selection import Selection

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Opened:
    """A run and the present selection; every part of the page is drawn from it."""

    run: Run
    table: pd.DataFrame
    """a row a tensor: the localization, and norm_before and norm_change where unlearning moved something"""
    region: list[str]
    """selected tensors, in table order"""
    start: Selection
    """what the run was made with"""
    recorded: frozenset[str]
    """tensors that the run was allowed to change; empty where it is not that far"""

    @property
    def own(self) -> bool:
        """Whether the run was made with what is selected."""
        return bool(self.recorded) and self.recorded == set(self.region)

    @property
    def by_rule(self) -> bool:
        """Whether thresholds select."""
        return selection_state.current().by == "thresholds"

    def shown(self, *, factors: bool) -> pd.DataFrame:
        """Return what a map has a cell for: every factor, or every module."""
        return self.table if factors else modules(self.run)

    @property
    def words(self) -> str:
        """What is selected where thresholds did not decide."""
        rule = self.run.config().region
        return words(rule) if self.own else selection.origin(selection_state.current().selection, self.start, rule)


def opened(run: Run, table: pd.DataFrame) -> Opened:
    """Bring session and address together; return what the page shows. table: of `cells`."""
    recorded = (run.json("region.json") or {}).get("tensors", ())
    start = selection.own(run.config().region, recorded)
    chosen = selection_state.open_page(run.id, table, start)
    region: list[str] = []
    with page_style.complaints():  # an impossible selection selects nothing
        region = chosen.select(table)
    return Opened(run, table, region, start, frozenset(recorded))


Version = tuple[str | float, ...]
"""a run's folder, and when the files were changed of which its map is drawn"""
FILES = ("localization.parquet", "changes.parquet", "separability.parquet")


def version(run: Run) -> Version:
    """Return what a picture of a run's cells depends on, beside what is selected and shown."""
    return str(run.path), *(current_run.stamp(run, name) for name in FILES)


def cells(run: Run) -> pd.DataFrame | None:
    """Return the localization table, with how far unlearning moved each cell where that is known; cached."""
    table = _cells(version(run))
    return None if table is None else table.copy(deep=False)


def modules(run: Run) -> pd.DataFrame:
    """Return the same with the factors of each module joined into one row, cached: not to be changed."""
    return _modules(version(run))


@st.cache_resource(max_entries=8, show_spinner=False)  # type: ignore[untyped-decorator]
def _cells(version: Version) -> pd.DataFrame | None:
    run = Run(Path(str(version[0])))
    table, changes = current_run.table(run, "localization"), current_run.table(run, "changes")
    if table is None or changes is None:
        return table
    norms = changes.set_index("name")[["norm_before", "norm_change"]]
    return table.assign(**{str(column): table["name"].map(values) for column, values in norms.items()})


@st.cache_resource(max_entries=8, show_spinner=False)  # type: ignore[untyped-decorator]
def _modules(version: Version) -> pd.DataFrame:
    return cells_.joined(_cells(version))
