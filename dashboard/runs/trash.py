"""What was deleted on the page Runs: it can be taken back until the page is left, or for a day where nobody leaves it."""

from __future__ import annotations

import streamlit as st

from core.runs import store, trash
from core.runs.store import Run
from dashboard.text import md
from dashboard.widgets import page_style

PAGE = "runs"
MINE = "runs.trash"
"""session state: keys of what this browser tab deleted"""


def leave(page: str) -> None:
    """Delete for good what this tab moved to the trash, once it shows another page."""
    mine = st.session_state.get(MINE)
    # Only what this tab deleted: somebody else may still be on the page, thinking of undoing.
    if mine and page != PAGE:
        del st.session_state[MINE]
        with page_style.complaints():
            trash.purge(deleted for deleted in trash.content(store.runs_folder()) if deleted.key in mine)


def delete(runs: list[Run]) -> None:
    """Move runs to the trash; what cannot be deleted is said, and the others go nevertheless."""
    done = st.session_state.setdefault(MINE, [])
    for run in runs:
        with page_style.complaints():
            done.append(trash.delete(run).key)


def show() -> None:
    """Show what can be taken back."""
    folder = store.runs_folder()
    with page_style.complaints():
        trash.purge_old(folder)
    items = trash.content(folder)
    if not items:
        return
    with st.container(border=True, key="trash"):
        what = "One deleted run is" if len(items) == 1 else f"{len(items)} deleted runs are"
        st.markdown(f":material/delete: {what} in the trash: until this page is left, a day at most.")
        for deleted in items[:20]:
            with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
                st.markdown(md(_name(deleted)), width="content")
                st.button(
                    "Undo",
                    key=f"undo.{deleted.key}",
                    icon=":material/undo:",
                    on_click=undo,
                    args=(deleted,),
                    help=f"Take {deleted.id} back",
                )
        if len(items) > 1:
            st.button("Undo all", key="undo.all", type="tertiary", on_click=undo_all, args=(items,))


def undo(deleted: trash.Deleted) -> None:
    """Take a run back."""
    with page_style.complaints():
        run = trash.restore(deleted)
        st.toast(f"{md(run.id)} is back.", icon=":material/undo:")


def undo_all(items: list[trash.Deleted]) -> None:
    """Take all back."""
    for deleted in items:
        undo(deleted)


def _name(deleted: trash.Deleted) -> str:
    values = Run(deleted.path).json("config.json")
    name = values.get("name") if isinstance(values, dict) else ""
    return f"{name} ({deleted.id})" if name else deleted.id
