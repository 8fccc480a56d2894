"""Runs leave and come as one file."""

from __future__ import annotations

import io
from collections.abc import Sequence

import streamlit as st

from core.runs import archive, store
from core.runs.overview import size_on_disk
from core.runs.store import Run
from core.util.errors import UserError
from dashboard.runs import runs_table
from dashboard.text import md
from dashboard.widgets import page_style

LARGEST = 64
"""MB of an archive that goes through the browser: the server holds it in memory. Larger ones go through the shell."""


def download(runs: Sequence[Run]) -> None:
    """Offer runs as one archive, made when it is asked for."""
    name = f"{runs[0].id}.zip" if len(runs) == 1 else f"{len(runs)}-runs.zip"
    try:
        for run in runs:
            archive.exportable(run)
    except UserError as error:
        st.button("Export", icon=":material/download:", disabled=True, help=md(error))
        return
    if sum(size_on_disk(run.path) for run in runs) > LARGEST * 2**20:
        with st.popover("Export", icon=":material/download:"):
            st.markdown(f"More than {LARGEST} MB do not go through the browser. In a shell:")
            st.code(f"python -m core export {' '.join(run.id for run in runs)} -o {name}", language=None, wrap_lines=True)
        return
    st.download_button(
        "Export",
        data=lambda: packed(runs),
        file_name=name,
        mime="application/zip",
        on_click="ignore",
        icon=":material/download:",
        help="Settings, scores, answers and adapters in one file; without logs",
    )


def packed(runs: Sequence[Run]) -> io.BytesIO:
    """Return runs as an archive in memory."""
    file = io.BytesIO()
    archive.write(runs, file)
    file.seek(0)
    return file


def upload() -> None:
    """Offer to take an archive in."""
    number = st.session_state.setdefault("import.number", 0)
    with st.popover("Import", icon=":material/upload:"):
        key = f"import.{number}"
        st.file_uploader(
            "An exported run",
            type="zip",
            key=key,
            max_upload_size=LARGEST,
            on_change=take,
            args=(key,),
            help="Everything in it is checked before anything of it is kept.",
        )
        st.caption("A larger one in a shell: `python -m core import FILE`")


def take(key: str) -> None:
    """Import what was uploaded; the result is said by `complaint` on the same page."""
    file = st.session_state.get(key)
    if file is None:
        return
    # Another key makes an empty uploader: this one would hold the file, and offer it again, for ever.
    st.session_state["import.number"] += 1
    try:
        if file.size > LARGEST * 2**20:  # the uploader's own limit is only asked in the browser
            raise UserError(f"{file.name} has more than {LARGEST} MB.", "Import it in a shell: python -m core import FILE.")
        imported = archive.import_(file, store.runs_folder(), file.name)
    except UserError as error:
        st.session_state["import.problem"] = error
        return
    st.session_state.pop("import.problem", None)
    runs_table.remember([run.id for run in imported])
    st.session_state["runs.version"] = st.session_state.get("runs.version", 0) + 1
    what = md(imported[0].id) if len(imported) == 1 else f"{len(imported)} runs"
    st.toast(f"Imported {what}.", icon=":material/upload:")


def complaint() -> None:
    """Say what was wrong with the last archive, until another one is tried."""
    if error := st.session_state.get("import.problem"):
        page_style.complain(error)
