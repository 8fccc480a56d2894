"""A whole configuration as a document: what it changes, its JSON to look at, to edit and to take along."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import streamlit as st

from core.config.run_config import RunConfig, from_json
from core.regions import Region
from core.runs.store import Run
from core.util.errors import UserError
from dashboard.text import md
from dashboard.widgets import current_run, selection

MOST = 8
"""entries of a list that are written out"""
SILENT = ("format", "name", "preset")
"""What says nothing about how a run is computed."""


def flat(config: RunConfig) -> dict[str, Any]:
    """Return path -> value of all settings; the members of a family by their names."""
    return _flat({key: value for key, value in config.to_json().items() if key not in SILENT})


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for key, value in values.items():
        settings |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return settings


def differences(first: RunConfig, second: RunConfig) -> list[tuple[str, str, str]]:
    """Return (setting, in the first, in the second) where they differ; a dash where a method has no such setting."""
    first_flat, second_flat = flat(first), flat(second)
    return [
        (path, shown(first_flat.get(path)), shown(second_flat.get(path)))
        for path in dict.fromkeys([*first_flat, *second_flat])
        if first_flat.get(path) != second_flat.get(path)
    ]


def shown(value: Any) -> str:
    """Write a setting's value as people do."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        more = f" and {len(value) - MOST} more" if len(value) > MOST else ""
        return (", ".join(map(str, value[:MOST])) or "all") + more
    return f"{value:g}" if isinstance(value, float) else str(value)


def changes_table(rows: list[tuple[str, str, str]], first: str, second: str) -> None:
    """Show differences as a table of words."""
    table = [
        {"setting": path.replace("_", " ").replace(".", " › "), first: before, second: after} for path, before, after in rows
    ]
    st.table(
        [{key: md(value) for key, value in row.items()} for row in table],
        border="horizontal",
        hide_index=True,
        alt=f"Settings that differ: {first} and {second}",
    )


def text_of(config: RunConfig) -> str:
    """Return a configuration as indented JSON."""
    return json.dumps(config.to_json(), indent=1, ensure_ascii=False)


def parsed(text: str) -> RunConfig:
    """Return the configuration that a text holds. Raises UserError with one sentence on what is wrong."""
    try:
        values = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"This is not valid JSON{where}.", "Repair it, or switch back to the form.") from None
    config = from_json(values)
    if config.model.trust_remote_code:
        raise UserError(
            "A page may not run code that a hub repository ships.", "Use --trust-remote-code on the command line."
        )
    return config


def download(config: RunConfig, key: str, label: str = "Download configuration") -> None:
    """Offer the configuration as a file that `python -m core run --config` takes."""
    st.download_button(
        label,
        text_of(config),
        file_name="configuration.json",
        mime="application/json",
        key=key,
        on_click="ignore",
        icon=":material/download:",
        width="stretch",
    )


def editor(start: RunConfig, key: str) -> tuple[RunConfig | None, UserError | None]:
    """Show the JSON as a text area; return what it holds, or what is wrong with it."""
    st.session_state.setdefault(key, text_of(start))
    text = st.text_area(
        "Configuration as JSON",
        key=key,
        height=460,
        persist_state="session",
        help="Everything a run depends on. Missing settings take their defaults.",
    )
    try:
        return parsed(text or ""), None
    except UserError as error:
        return None, error


def wanted_again(runs: dict[str, Run]) -> Run | None:
    """Return the run whose settings a new one starts from: ?again=RUN."""
    name = st.query_params.get("again")
    if not name:
        return None
    if name not in runs:
        st.warning(
            f"There is no run “{md(name)}” here any more, so its settings cannot be taken.", icon=":material/link_off:"
        )
        return None
    with contextlib.suppress(UserError):
        if runs[name].config().audit.after:
            st.warning(
                "That is an audit of models made elsewhere: a run with its settings would compare them again.",
                icon=":material/info:",
            )
            return None
    return runs[name]


def wanted_region(run: Run) -> Region | None:
    """Return the region that was chosen on the map of the run whose settings are taken; None where it is the run's own."""
    text, table = st.query_params.get(selection.PARAMETER, ""), current_run.table(run, "localization")
    if not text or table is None:
        return None
    own = selection.own(run.config().region, (run.json("region.json") or {}).get("tensors", ()))
    chosen = selection.read(text, table, own)
    return None if chosen == own else chosen.region()


def forget_again() -> None:
    """Leave the settings of another run."""
    for name in ("again", selection.PARAMETER):
        st.query_params.pop(name, None)
