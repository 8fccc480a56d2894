"""Editing by hand, a mode that is switched on: cells, whole layers, whole modules; a box drawn in the scatter; undo.

Regions with a name are here, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from core.models.cells import at, labels, number
from core.runs import saved_regions
from core.runs.store import Run
from core.util.errors import UserError
from dashboard.localize import selection_state
from dashboard.text import md
from dashboard.widgets import page_style, selection

if TYPE_CHECKING:
    import pandas as pd

LAST = 3
"""edits that are told beside Undo"""


def toggle(what: str, names: Iterable[str], table: pd.DataFrame) -> None:
    """Add cells to what is selected; where all of them are in it already, take them away. what: what they are, in words."""
    wanted, mine = set(selection.live(names, table)), set(selection_state.current().selection.select(table))
    if not wanted:
        return
    out = wanted <= mine
    words = f"{what} {'taken out' if out else 'put in'}"
    selection_state.edit(words, selection.live(mine - wanted if out else mine | wanted, table))


def put(what: str, names: Iterable[str], table: pd.DataFrame) -> None:
    """Make these cells what is selected. what: what that does, in words."""
    selection_state.edit(what, selection.live(names, table))


def mode() -> None:
    """Show the switch of the mode and, as long as there are edits, what they did and how to undo the last one."""
    state = selection_state.current()
    selection_state.tell("editing")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.toggle(
            "Edit by hand",
            key="editing",
            on_change=selection_state.taken,
            args=("editing", lambda on: {"editing": on}),
            help="While this is on, a click on a cell puts it in or takes it out. Otherwise a click only looks.",
        )
        if state.steps:
            st.button("Undo", key="undo", icon=":material/undo:", on_click=selection_state.undo)
        if words := said(state.editing, [step.words for step in state.steps]):
            st.caption(words)


def said(editing: bool, steps: Sequence[str]) -> str:
    """Say what a click does now, and what the last edits did."""
    hint = "A click on a cell, or on a bar, puts it in or takes it out. " if editing else ""
    last = " · ".join(md(words) for words in steps[: -LAST - 1 : -1])
    more = f" · {len(steps) - LAST} more" if len(steps) > LAST else ""
    return f"{hint}{f'Last: {last}{more}.' if steps else ''}".strip()


def controls(table: pd.DataFrame) -> None:
    """Show what can be picked at once; single cells are picked in the picture, or below under “One cell”."""
    layers, modules = sorted(set(table["layer"])), list(dict.fromkeys(table["module"]))
    columns = st.columns([1, 1], vertical_alignment="bottom")
    layer = columns[0].selectbox("Layer", layers, key="hand_layer", format_func=number)
    columns[1].button(
        "Add or remove",
        key="hand_layer_go",
        width="stretch",
        on_click=toggle,
        args=(at(layer), table.loc[table["layer"] == layer, "name"].tolist(), table),
        help="The whole layer",
    )
    columns = st.columns([1, 1], vertical_alignment="bottom")
    module = columns[0].selectbox("Module", modules, key="hand_module", format_func=labels(modules).get)
    columns[1].button(
        "Add or remove",
        key="hand_module_go",
        width="stretch",
        on_click=toggle,
        args=(labels(modules)[module], table.loc[table["module"] == module, "name"].tolist(), table),
        help="The module in every layer",
    )
    st.button("Clear", icon=":material/backspace:", on_click=put, args=("all taken out", (), table))


def brushed(table: pd.DataFrame, region: Sequence[str]) -> None:
    """Offer what can be done with the box that was drawn in the scatter."""
    names = [name for name in st.session_state.get("brushed", ()) if name in set(table["name"])]
    if not names:
        return
    with st.container(border=True, gap="small"):
        st.markdown(f"**{len(names)} tensors in your box**")
        with st.container(horizontal=True, gap="small"):
            for label, done, chosen in (
                ("Take only these", "only the box", names),
                ("Add", "the box put in", [*region, *names]),
                ("Take away", "the box taken out", [name for name in region if name not in set(names)]),
            ):
                st.button(label, key=f"box_{label}", on_click=_box, args=(done, chosen, table))
            st.button(
                "Forget the box", key="box_none", type="tertiary", on_click=st.session_state.pop, args=("brushed", None)
            )


def _box(done: str, names: Sequence[str], table: pd.DataFrame) -> None:
    put(done, names, table)
    st.session_state.pop("brushed", None)


def saved(run: Run, table: pd.DataFrame, region: Sequence[str]) -> None:
    """Keep regions under a name with the run, and bring them back."""
    with st.popover("Saved regions", icon=":material/bookmark:", width="stretch"):
        regions = saved_regions.load(run)
        for number, (name, tensors) in enumerate(regions.items()):
            # The name has a line of its own: beside it the words of the buttons would be broken.
            st.markdown(f"{md(name)} :gray[{len(tensors)} tensors]")
            with st.container(horizontal=True, gap="small"):
                st.button("Use", key=f"use_{number}", on_click=put, args=(f"“{name}” taken", tensors, table))
                st.button("Delete", key=f"drop_{number}", type="tertiary", on_click=_drop, args=(run, name, tensors))
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
