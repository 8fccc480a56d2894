"""The widget of one of the engine's settings: label, unit, range, choices and source all come from the setting itself."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboard.text import md, number

SYMBOLS = {"mu": "μ", "sigma": "σ"}
"""settings that the page Localize and the paper write as a letter"""

_LEFT = "settings.not_taken"
"""place in the session of what an address asked for in vain: key of a setting -> (its name, the value)"""


def field(setting: dict[str, Any], key: str) -> Any:
    """Show the widget of one setting and return its value; a coloured dot marks what differs from the start value."""
    # Only of an address that was opened: later the control has the word, and Streamlit has tidied the address.
    asked = None if key in st.session_state else st.query_params.get(key)
    value, left = _widget(setting, key), st.session_state.setdefault(_LEFT, {})
    if asked is not None and not _same(asked, value):
        left[key] = (_name(setting), asked)
    elif key in left and value != shown(setting["value"]):
        del left[key]  # somebody has set it since
    return value


def fields(settings: Sequence[dict[str, Any]], prefix: str) -> dict[str, Any]:
    """Show the widgets of some settings side by side; return name -> value of those that differ from the start value."""
    changes: dict[str, Any] = {}
    if not settings:
        return changes
    with st.grid("auto", min_column_width=200, gap="small"):
        for setting in settings:
            value = field(setting, f"{prefix}.{setting['name']}")
            if value is not None and value != shown(setting["value"]):
                changes[setting["name"]] = value
    return changes


def not_taken(prefix: str) -> str:
    """Return what the address asked for and no setting of a form that is shown could be, in words."""
    left: dict[str, tuple[str, str]] = st.session_state.get(_LEFT, {})
    here = [entry for key, entry in left.items() if key.startswith(f"{prefix}.") and key in st.session_state]
    return ", ".join(f"{name} = {value[:80]}" for name, value in here)


def _same(asked: str, value: Any) -> bool:
    """Say whether a setting has the value that an address asked for."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return asked.lower() == str(value).lower()
    with contextlib.suppress(ValueError):
        return float(asked) == value
    return False


def _widget(setting: dict[str, Any], key: str) -> Any:
    value = setting["value"]
    changed = st.session_state.get(key, shown(value)) != shown(value)
    label = f"{':orange[●] ' if changed else ''}{md(_name(setting))}"
    if setting.get("unit"):
        label += f" :gray[{md(setting['unit'])}]"
    options: dict[str, Any] = {"key": key, "help": help_of(setting), "bind": "query-params"}
    if isinstance(value, bool):
        return st.toggle(label, value, **options)
    if setting.get("choices"):
        choices = list(setting["choices"])
        return st.selectbox(label, choices, index=choices.index(value), **options)
    if isinstance(value, int):
        return st.number_input(label, _bound(setting, "low", int), _bound(setting, "high", int), value, step=1, **options)
    if isinstance(value, float):
        step = 10.0 ** math.floor(math.log10(abs(value))) if value else 0.01
        low, high = _bound(setting, "low", float), _bound(setting, "high", float)
        return st.number_input(label, low, high, value, step=step, format="%g", **options)
    return st.text_input(label, shown(value), **options)


def _name(setting: dict[str, Any]) -> str:
    return str(SYMBOLS.get(setting["name"], setting["name"].replace("_", " ")))


def help_of(setting: dict[str, Any]) -> str:
    """Return a setting's help: what it is, its range, its source and the preset's value."""
    parts = [md(setting["help"].rstrip(".")) + "."]
    low, high = setting.get("low"), setting.get("high")
    if low is not None and high is not None:
        parts.append(f"Range {number(low)} to {number(high)}.")
    if setting.get("source"):
        parts.append(f"Source: {md(setting['source'])}.")
    parts.append(f"Start value: {md(shown(setting['value']) or 'empty')}.")
    return " ".join(parts)


def shown(value: Any) -> Any:
    """Return a setting's value as its widget has it."""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value


def _bound(setting: dict[str, Any], name: str, kind: type) -> Any:
    bound = setting.get(name)
    return None if bound is None else kind(bound)
