"""Localize: what the gradients of both scopes say of each cell, and which part of the model unlearning may change."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from core.localization.measures import MEASURES
from core.regions import Located
from core.runs.store import Run
from dashboard.localize import (
    against_run,
    first_screen,
    in_words,
    one_cell,
    opened,
    pictures,
    planted_truth,
    region_controls,
    region_panel,
)
from dashboard.widgets import address, audit, current_run, page_style

if TYPE_CHECKING:
    import pandas as pd
    from streamlit.delta_generator import DeltaGenerator

    from dashboard.localize.opened import Opened


def page() -> None:
    """Show the page."""
    run = current_run.opened()
    if run is None:
        return
    st.title("Is it gone, and what was lost?")
    if run.config().audit.after:
        audit.show(run)
        return
    table = opened.cells(run)
    if table is None or table.empty:
        not_yet(run)
        return
    if not table["has_gradient"].any():
        st.warning(
            "No tensor of this run has a gradient for both scopes, so nothing can be located.", icon=":material/block:"
        )
        return
    first_screen.show(run)
    the_map(opened.opened(run, table))


def the_map(page: Opened) -> None:
    """Show the map with all that belongs to it."""
    run, table, region = page.run, page.table, page.region
    words, doubts = st.container(), st.empty()
    measure, scale = measures(run, table)
    with scale:
        factors = pictures.by_factor()
    with words:
        in_words.show(page, measure, by_factor=factors)
    # Both plots are sent before the many controls, so that they are seen, or repainted, sooner.
    picture, side = st.columns([2.1, 1], gap="large")
    with picture:
        pictures.grid(page, measure, scale, factors=factors)
    with side:
        pictures.cut(page, factors=factors)
        region_panel.show(page)
    if said := in_words.doubts(page, measure):
        doubts.markdown(said)
    with picture:
        st.subheader("One cell" if factors else "One module")
        one_cell.numbers(table, region, one_cell.chosen_cell(table, region), factors=factors)
    drill_down(run, table, region, factors=factors)
    st.subheader("Against another run")
    against_run.show(page, measure, factors=factors)
    part(run, "controls", "Controls: would other regions have done as well?", ":material/science:", region_controls.show)
    planted = "Planted truth: does a score find what was put there?"
    part(run, "planted", planted, ":material/potted_plant:", planted_truth.show)


def part(run: Run, key: str, title: str, icon: str, show: Callable[[Run], None]) -> None:
    """Show a part that is closed until somebody opens it; whether it is open is in the address."""
    box = st.expander(title, icon=icon, key=key, on_change="rerun", bind="query-params")
    if box.open:
        with box, page_style.complaints():
            show(run)


def not_yet(run: Run) -> None:
    """Say why there is no picture."""
    current_run.not_that_far(
        run,
        "This run has not measured its gradients yet. The picture appears here when that stage is done.",
        "This run ended before its gradients were measured. Resume it, or choose another run above.",
    )


def measures(run: Run, table: pd.DataFrame) -> tuple[str, DeltaGenerator]:
    """Show what the heatmap can be coloured by; return the choice, and the place of what else it can be set to.

    It opens on the score that finds planted truth, where it was computed; a run by the paper's rule opens on the cosine.
    """
    shown = {m.label: key for key, m in MEASURES.items() if not m.column or m.column in table}
    scored = "held" in shown.values() and run.config().region.name != Located.name
    first = MEASURES["held" if scored else "cosine"].label
    # Who chose none sees each run as it opens.
    if st.session_state.get(MEASURE) == st.session_state.get("measure_first") and MEASURE not in st.query_params:
        st.session_state.pop(MEASURE, None)
    st.session_state["measure_first"] = first
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        chosen = address.part(
            MEASURE,
            [first, *(label for label in shown if label != first)],
            lambda: st.segmented_control(
                "Colour",
                list(shown),
                key=MEASURE,
                required=True,
                wrap=True,
                width="content",
                label_visibility="collapsed",
            ),
        )
        scale: DeltaGenerator = st.popover("Scale and overlay", icon=":material/tune:")
    return shown[chosen], scale


MEASURE = "measure"
"""parameter of the address; its value is the measure's label"""


def drill_down(run: Run, table: pd.DataFrame, region: list[str], *, factors: bool) -> None:
    """Show what is inside the chosen cell, and which questions drive it: both were recorded of each factor."""
    chosen = one_cell.chosen_cell(table, region)
    whole = one_cell.of_module(chosen, table, factors=factors)
    if whole is not None and len(whole) > 1:
        of = whole.loc[whole["name"] == chosen, "factor"].iloc[0]
        st.caption(f"Below: factor {of} of this module. The other one is shown where it is chosen above.")
    within, asked = st.columns([1.35, 1], gap="large")
    with within:
        st.subheader("Inside it")
        one_cell.inside(run, table, chosen)
    with asked:
        one_cell.questions(run, chosen)


page()
