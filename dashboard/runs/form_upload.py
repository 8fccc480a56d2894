"""A file of one's own: kept where runs can read it, checked row by row, used without its bad rows only if asked for."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import streamlit as st

from core.data import sources
from core.data.sources import Checked
from core.jobs import queue_limits
from core.runs import disk_use, store
from core.util import access, failure_sentences
from core.util.errors import UserError
from dashboard.runs import form_columns
from dashboard.text import md
from dashboard.widgets import page_style

ENDINGS = ("json", "jsonl", "csv", "parquet")
LARGEST = 20 * 2**20
"""Bytes that can be uploaded; a larger file is given by its path."""


def choose(prefix: str) -> str | None:
    """Show the upload; return the path of a file that can be used, None while there is none."""
    given = st.file_uploader(
        "File",
        type=list(ENDINGS),
        key=f"{prefix}.upload",
        max_upload_size=LARGEST // 2**20,
        help="Columns question, answer and scope (unlearn or retention); split and subject if you have them.",
    )
    kept = f"{prefix}.upload.used"
    if given is None:
        st.session_state.pop(kept, None)
        st.caption("JSON, JSON lines, CSV or Parquet, up to 20 MB, with the columns question, answer and scope.")
        form_columns.example()
        return None
    content = given.getvalue()
    mine = hashlib.sha256(content).hexdigest()
    with page_style.complaints():
        if path := _checked(given.name, content):
            st.session_state[kept] = (mine, given.name, path)
            return path
    other, name, path = st.session_state.get(kept, ("", "", None))
    if not path or other == mine:
        return None
    st.caption(f":material/undo: The form stays as it was, with **{md(name)}**.")
    return str(path)


def _checked(name: str, content: bytes) -> str | None:
    """Show an uploaded file's columns and what is wrong with it; return its path once it can be used. Raises UserError."""
    path = form_columns.choose(save(name, content), save)
    checked = sources.check_file(path)
    return str(path) if not checked.problems else _without_bad_rows(path, name, checked)


def usable(path: Path) -> bool:
    """Say whether a file on the disk can be used; show what is wrong with it otherwise, row by row."""
    try:
        if not path.is_file():
            raise UserError(f"There is no data at {path}.", "Give a folder or a file.")
        checked = sources.check_file(path)
    except UserError as error:
        page_style.complain(error)
        return False
    if checked.problems:
        complain(path.name, checked)
    return not checked.problems


def save(name: str, content: bytes) -> Path:
    """Keep an uploaded file in the runs folder, named by its content. Raises UserError for wrong ending or size, on a full
    quota and where it is read-only.
    """
    access.changing()
    ending = name.rpartition(".")[2].lower()
    if ending not in ENDINGS:
        raise UserError(f"{name} is no data file.", f"Known endings: {', '.join(ENDINGS)}.")
    if len(content) > LARGEST:
        raise UserError(
            f"{name} has {len(content) / 2**20:.0f} MB; at most 20 MB can be uploaded.", "Give its path instead."
        )
    # Only harmless letters of the given name: it becomes a path.
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", name.rpartition(".")[0])[:60] or "data"
    target = store.runs_folder() / disk_use.UPLOADED / hashlib.sha256(content).hexdigest()[:16] / f"{stem}.{ending}"
    try:
        # The size too: a write that a full disk cut short left a file of this name.
        if target.is_file() and target.stat().st_size == len(content):
            os.utime(target.parent)  # new again: see core/runs/disk_use.py
            return target
        queue_limits.space(store.runs_folder())
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    except OSError as error:
        raise failure_sentences.disk_error(target, error) from error
    return target


def complain(name: str, checked: Checked) -> None:
    """Say how many rows are bad, and list them with what is wrong."""
    bad, good = len(checked.problems), len(checked.rows)
    first, more = checked.problems[0], ", and so on" if bad > 1 else ""
    st.error(
        f"**{bad} of {bad + good} rows of {md(name)} cannot be used: row {first.row} {md(first.what)}{more}.**  \n"
        "Repair them and give the file again, or leave them out.",
        icon=":material/error:",
    )
    rows = [{"row": p.row, "what is wrong": f"It {p.what}.", "what stands there": p.excerpt} for p in checked.problems]
    st.dataframe(
        rows, height="auto" if bad < 8 else 260, hide_index=True, alt=f"The {bad} rows that cannot be used, and why"
    )


def _without_bad_rows(path: Path, name: str, checked: Checked) -> str | None:
    complain(name, checked)
    if not checked.rows:
        return None
    question = (
        f"Leave out {'this row' if len(checked.problems) == 1 else f'these {len(checked.problems)} rows'} and use the "
        f"other {len(checked.rows)}"
    )
    # The key holds the content: what was accepted for one file is not accepted for the next.
    if not st.checkbox(question, key=f"without.{path.parent.name}"):
        return None
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in checked.rows) + "\n"
    return str(save(f"{path.stem}-without-bad-rows.jsonl", lines.encode()))
