"""Which columns of an uploaded file hold what, with its first rows beside; and a file that shows how one looks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from core.config.stages import DataConfig
from core.data import sources
from core.data.corpus import SCOPES
from core.util.csv_safe import written

FIRST = 5
"""rows that are shown"""
LOOKED_AT = 200
"""rows in which columns are looked for"""
NEEDED = ("question", "answer", "scope")
EACH = {"train": 4, "val": 1}
"""split -> questions of each scope in the example file"""


def choose(path: Path, save: Callable[[str, bytes], Path]) -> Path:
    """Show a file's first rows and let its columns be named; return a file with our names. Raises UserError.

    save: keeps a file that is made for that, and returns its path.
    """
    numbered = sources.numbered_rows(path)
    objects = [row for _, row in numbered if isinstance(row, dict)]
    columns = list(dict.fromkeys(str(name) for row in objects[:LOOKED_AT] for name in row))
    found = sources.columns(objects)
    picked: dict[str, str | None] = {}
    missing = [name for name in NEEDED if found[name] is None]
    with st.expander("Columns and first rows", expanded=bool(missing), icon=":material/view_column:"):
        for place, (name, column) in zip(st.columns(len(found)), found.items(), strict=True):
            picked[name] = place.selectbox(
                name.capitalize(),
                columns,
                index=columns.index(column) if column in columns else None,
                key=f"column.{name}.{path.parent.name}",
                placeholder="choose" if name in NEEDED else "none",
            )
        st.dataframe(
            [{str(name): _shown(value) for name, value in row.items()} for row in objects[:FIRST]],
            hide_index=True,
            alt=f"The first {min(FIRST, len(objects))} of {len(numbered)} rows",
        )
    if picked == found:
        return path
    lines = [json.dumps(_renamed(row, picked), ensure_ascii=False, default=str) for _, row in numbered]
    return save(f"{path.stem}-columns.jsonl", ("\n".join(lines) + "\n").encode())


def example() -> None:
    """Offer a file that shows which columns there are and what stands in them."""
    st.download_button(
        "Example file",
        data=example_csv,
        file_name="forgetscope-example.csv",
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
        type="tertiary",
        key="upload.example",
    )


def example_csv() -> str:
    """Return some questions of the demo about one person, of both scopes and splits."""
    corpus = sources.load(DataConfig(source="demo", subset="privacy"))
    somebody = corpus.select(SCOPES[0], "train")[0].subject
    rows: list[tuple[str, ...]] = [(*NEEDED, "split", "subject")]
    for scope in SCOPES:
        for split, count in EACH.items():
            about = [e for e in corpus.select(scope, split) if e.subject == somebody]
            rows += [(e.question, e.answer, e.scope, e.split, e.subject) for e in about[:: len(about) // count or 1][:count]]
    return written(rows)


def _renamed(row: Any, picked: dict[str, str | None]) -> Any:
    """Return a row with our names alone; what is no object stays, to be complained of."""
    return {name: row.get(column) for name, column in picked.items() if column} if isinstance(row, dict) else row


def _shown(value: Any) -> str:
    return "" if value is None else str(value)[:LOOKED_AT]
