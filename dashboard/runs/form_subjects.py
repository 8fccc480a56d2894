"""Which subjects a run is about: a table to click in, and the same choice as a field to type in."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.data.corpus import Corpus

COLUMNS = {
    "unlearn/train": "✖ forget",
    "unlearn/val": "✖ new",
    "retention/train": "● keep",
    "retention/val": "● new",
}
"""scope/split -> heading"""
HELP = "The people or works that the questions are about. Nothing chosen means all. Click rows, or type here."


def pick(corpus: Corpus, start: Sequence[str], key: str) -> list[str]:
    """Let subjects be chosen; return their names, none for all. Table and field always show the same."""
    counts = corpus.subjects()
    names, table = list(counts), f"{key}.table"
    before = [name for name in start if name in counts]
    chosen = st.multiselect(
        "Subjects",
        names,
        before or None,
        key=key,
        placeholder=f"all {len(names)}",
        bind="query-params",
        help=HELP,
        on_change=_to_table,
        args=(key, table, names),
    )
    chosen = [name for name in chosen if name in counts]
    rows = [{"subject": name, **{label: counts[name].get(part, 0) for part, label in COLUMNS.items()}} for name in names]
    taken = [row for row in rows if not chosen or row["subject"] in chosen]
    with st.expander(_summary(len(taken), rows, taken), expanded=True, key=f"{key}.open"):
        st.dataframe(
            rows,
            key=table,
            on_select=lambda: _to_field(key, table, names),
            selection_mode="multi-row",
            hide_index=True,
            selection_default={"selection": {"rows": [names.index(name) for name in chosen]}},
            height="auto" if len(rows) < 8 else 300,
            alt="Subjects with the number of questions of each scope and split",
        )
    return chosen


def _summary(count: int, rows: Sequence[dict[str, object]], taken: Sequence[dict[str, object]]) -> str:
    sums = {label: sum(int(str(row[label])) for row in taken) for label in COLUMNS.values()}
    which = f"All {count} subjects" if count == len(rows) else f"{count} of {len(rows)} subjects"
    return f"{which}: " + " · ".join(f"{number} {label}" for label, number in sums.items())


def _to_field(key: str, table: str, names: Sequence[str]) -> None:
    """Take over the rows that were clicked."""
    rows = st.session_state[table]["selection"]["rows"]
    st.session_state[key] = [names[row] for row in sorted(rows) if row < len(names)]


def _to_table(key: str, table: str, names: Sequence[str]) -> None:
    """Mark the rows of the subjects that were typed."""
    rows = [names.index(name) for name in st.session_state[key] if name in names]
    st.session_state[table] = {"selection": {"rows": rows, "columns": [], "cells": []}}
