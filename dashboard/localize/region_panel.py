"""Beside the map: how large the selected region is, how it is chosen, and the way to a run with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from core import regions
from core.regions import Region
from core.runs import store
from core.runs.store import Run
from core.util.errors import UserError
from dashboard import pages
from dashboard.localize import handpicked, selection_state, thresholds
from dashboard.text import duration, md
from dashboard.widgets import selection

if TYPE_CHECKING:
    import pandas as pd

    from dashboard.localize.opened import Opened

BY = {"thresholds": "Thresholds", "hand": "List of cells"}


def show(page: Opened) -> None:
    """Show how the region is chosen, how large it is, and what can be done with it."""
    table, region, state = page.table, page.region, selection_state.current()
    size = counts(table, region, page.run.json("region.json"))
    st.markdown(f"### {size.count} of {size.total} tensors")
    model = "" if size.model is None else f", {size.model:.2f} % of the model"
    st.caption(f"In {size.inside} of {size.modules} modules; {size.adapter:.1f} % of adapter parameters{model}")
    offer_run(page.run, state.selection.region(), state.written, table)
    handpicked.brushed(table, region)
    with st.container(border=True):
        selection_state.tell("by")
        st.segmented_control(
            "Selected by",
            list(BY),
            format_func=BY.get,
            key="by",
            required=True,
            on_change=take_by,
            args=(table, region),
            label_visibility="collapsed",
            width="stretch",
        )
        if state.by == "thresholds":
            thresholds.choose(table, page.start.rule if page.start.hand is None else None)
        else:
            listed(page)
        if state.editing:
            handpicked.controls(table)
        selection_state.listen()
        handpicked.saved(page.run, table, region)


def take_by(table: pd.DataFrame, region: list[str]) -> None:
    """Let thresholds or the list decide; an empty list begins with what the thresholds select."""
    hand = selection_state.current().hand
    selection_state.taken(
        "by", lambda by: {"by": by, "hand": selection.live(region, table) if by == "hand" and not hand else hand}
    )


def listed(page: Opened) -> None:
    """Say what the list of cells is, and offer to go back to what the run was made with, where that was a list."""
    st.caption(f"Listed: {md(page.words)}.")
    if page.start.hand is not None and not page.own:
        st.button(
            "Back to this run's own",
            type="tertiary",
            icon=":material/history:",
            on_click=handpicked.put,
            args=("this run’s own", page.start.hand, page.table),
        )


@dataclass(frozen=True)
class Counts:
    """What a region amounts to."""

    count: int
    total: int
    inside: int
    """modules that have a tensor in it"""
    modules: int
    adapter: float
    """percent of the adapter's parameters"""
    model: float | None
    """percent of the model's parameters; None where the run has not recorded the model's size"""


def counts(table: pd.DataFrame, region: list[str], recorded: dict[str, float] | None) -> Counts:
    """Count a region. recorded: region.json, from whose two shares the model's size follows."""
    elements, selected = table["rows"] * table["columns"], table["name"].isin(set(region))
    inside = float(elements[selected].sum())
    share = 100 * inside / float(elements.sum()) if len(elements) else 0.0
    model = None
    if recorded and recorded.get("share_of_adapter") and recorded.get("share_of_model"):
        model = share * recorded["share_of_model"] / recorded["share_of_adapter"]
    modules = table[["layer", "module"]]
    held = len(modules[selected].drop_duplicates())
    return Counts(len(region), len(table), held, len(modules.drop_duplicates()), share, model)


def offer_run(run: Run, rule: Region, text: str, table: pd.DataFrame) -> None:
    """Offer the form of a new run with this region. text: how an address spells the rule, empty for the run's own."""
    try:
        regions.choose(rule, table)
    except UserError as error:
        st.button("Unlearn with this region", disabled=True, width="stretch", help=md(error))
        st.caption(md(error))
        return
    if st.button("Unlearn with this region", type="primary", width="stretch", icon=":material/edit_note:"):
        asked = {"run": run.id, "view": pages.NEW_RUN, "again": run.id}
        # The address says of the region what the run's own settings do not say.
        st.switch_page(pages.RUNS.script, query_params=asked | ({selection.PARAMETER: text} if text else {}))
    st.caption(f"Opens the form of a new run; nothing starts yet. {cost(run)}")


def cost(run: Run) -> str:
    """Say what a run with another region re-uses and computes, and how long that took last time."""
    stages = (run.json("manifest.json") or {}).get("stages", {})
    seconds = {name: float(stage.get("seconds", 0)) for name, stage in stages.items()}
    rest = sum(seconds.get(name, 0) for name in store.OWN)
    took = f" The rest took {duration(rest)} there." if rest else ""
    if run.bundled:
        return f"Teaching and gradients are re-used where this machine computes as the bundled run's did.{took}"
    return f"Teaching and gradients are re-used.{took}"
