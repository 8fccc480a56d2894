"""In which settings several runs differ, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.config.run_config import differences
from core.runs.overview import readable
from core.runs.store import Run
from dashboard.text import md

MISSING = "–"


def show(chosen: Mapping[str, Run], name_of: Mapping[str, str]) -> None:
    """Show the settings in which some runs differ."""
    rows = setting_rows({name: readable(run) for name, run in chosen.items()})
    if not rows:
        st.caption("Their settings are the same.")
        return
    heads = {name: md(name_of[name]) for name in chosen}
    st.table(
        [{"Setting": md(name), **{heads[i]: md(text) for i, text in cells.items()}} for name, cells in rows.items()],
        hide_index=True,
        alt="Settings in which the chosen runs differ",
    )


def setting_rows(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return setting -> run -> its value, for the settings that differ; the names of runs are none."""
    differing = differences(list(settings.values()))
    return {
        key: {name: _plain(value) for name, value in zip(settings, values, strict=True)}
        for key, values in differing.items()
        if key not in ("name", "format")
    }


def _plain(value: Any) -> str:
    if value is None:
        return MISSING
    return (", ".join(map(str, value)) or "all") if isinstance(value, list) else str(value)
