"""What the page Localize is opened on: a run's cells, and what of them is selected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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


def cells(run: Run) -> pd.DataFrame | None:
    """Return the localization table, with how far unlearning moved each cell where that is known."""
    table, changes = current_run.table(run, "localization"), current_run.table(run, "changes")
    if table is None or changes is None:
        return table
    norms = changes.set_index("name")[["norm_before", "norm_change"]]
    return table.assign(**{str(column): table["name"].map(values) for column, values in norms.items()})
