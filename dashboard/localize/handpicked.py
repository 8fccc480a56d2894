"""Regions picked by hand: cells, whole layers, whole modules, a box drawn in the scatter; and regions with a name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from core.models.cells import labels, number
from core.runs import saved_regions
from core.runs.store import Run
from core.util.errors import UserError
from dashboard.localize import selection_state
from dashboard.text import md
from dashboard.widgets import page_style, selection

if TYPE_CHECKING:
    import pandas as pd


def toggle(names: Iterable[str], table: pd.DataFrame) -> None:
    """Add cells to the hand-picked region; where all of them are in it already, take them away."""
    wanted, mine = set(selection.live(names, table)), set(selection_state.current().hand)
    selection_state.change(hand=selection.live(mine - wanted if wanted <= mine else mine | wanted, table))


def put(names: Iterable[str], table: pd.DataFrame) -> None:
    """Make these cells the hand-picked region."""
    selection_state.change(hand=selection.live(names, table), by="hand")


def controls(table: pd.DataFrame) -> None:
    """Show what can be picked at once; single cells are picked in the picture, or below under “One cell”."""
    st.caption("Click a cell to add it or take it away; click a bar for a whole layer or module.")
    layers, modules = sorted(set(table["layer"])), list(dict.fromkeys(table["module"]))
    columns = st.columns([1, 1], vertical_alignment="bottom")
    layer = columns[0].selectbox("Layer", layers, key="hand_layer", format_func=number)
    columns[1].button(
        "Add or remove",
        key="hand_layer_go",
        width="stretch",
        on_click=toggle,
        args=(table.loc[table["layer"] == layer, "name"].tolist(), table),
        help="The whole layer",
    )
    columns = st.columns([1, 1], vertical_alignment="bottom")
    module = columns[0].selectbox("Module", modules, key="hand_module", format_func=labels(modules).get)
    columns[1].button(
        "Add or remove",
        key="hand_module_go",
        width="stretch",
        on_click=toggle,
        args=(table.loc[table["module"] == module, "name"].tolist(), table),
        help="The module in every layer",
    )
    st.button("Clear", icon=":material/backspace:", on_click=put, args=((), table))


def brushed(table: pd.DataFrame, region: Sequence[str]) -> None:
    """Offer what can be done with the box that was drawn in the scatter."""
    names = [name for name in st.session_state.get("brushed", ()) if name in set(table["name"])]
    if not names:
        return
    with st.container(border=True, gap="small"):
        st.markdown(f"**{len(names)} tensors in your box**")
        with st.container(horizontal=True, gap="small"):
            for label, chosen in (
                ("Take only these", names),
                ("Add", [*region, *names]),
                ("Take away", [name for name in region if name not in set(names)]),
            ):
                st.button(label, key=f"box_{label}", on_click=_box, args=(chosen, table))
            st.button(
                "Forget the box", key="box_none", type="tertiary", on_click=st.session_state.pop, args=("brushed", None)
            )


def _box(names: Sequence[str], table: pd.DataFrame) -> None:
    put(names, table)
    st.session_state.pop("brushed", None)


def saved(run: Run, table: pd.DataFrame, region: Sequence[str]) -> None:
    """Keep regions under a name with the run, and bring them back."""
    with st.popover("Saved regions", icon=":material/bookmark:", width="stretch"):
        regions = saved_regions.load(run)
        for number, (name, tensors) in enumerate(regions.items()):
            columns = st.columns([3, 1, 1], vertical_alignment="center")
            columns[0].markdown(f"{md(name)}  \n:gray[{len(tensors)} tensors]")
            columns[1].button("Use", key=f"use_{number}", on_click=put, args=(tensors, table))
            columns[2].button("Delete", key=f"drop_{number}", type="tertiary", on_click=_drop, args=(run, name, tensors))
        if not regions:
            st.caption("None yet. A saved region stays with this run.")
        name = st.text_input("Name of the region shown now", key="region_name", max_chars=saved_regions.LONGEST)
        st.button(
            "Save", key="region_save", disabled=not (name.strip() and region), on_click=_save, args=(run, list(region))
        )
    undo = st.session_state.get("dropped_region")
    if undo and undo[0] == run.id:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"“{md(undo[1])}” was deleted.", width="content")
            st.button("Undo", type="tertiary", on_click=_restore, args=(run,))


def _save(run: Run, region: Sequence[str]) -> None:
    try:
        saved_regions.save(run, st.session_state["region_name"], region)
        st.toast(f"Saved “{md(st.session_state['region_name'])}”.", icon=":material/bookmark_added:")
    except UserError as error:
        page_style.complain(error)


def _drop(run: Run, name: str, tensors: list[str]) -> None:
    try:
        saved_regions.delete(run, name)
        st.session_state["dropped_region"] = (run.id, name, tensors)
    except UserError as error:
        page_style.complain(error)


def _restore(run: Run) -> None:
    _, name, tensors = st.session_state["dropped_region"]
    try:
        saved_regions.save(run, name, tensors)
        del st.session_state["dropped_region"]  # not before: it is kept where the name was taken meanwhile
    except UserError as error:
        page_style.complain(error)
