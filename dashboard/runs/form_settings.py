"""Forms made from the engine's own settings: label, unit, range and source all come from core.config.run_config."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import streamlit as st

from core.config.run_config import FAMILIES, RunConfig, describe
from core.methods import METHODS, Method
from core.methods.own import OwnMethod
from core.regions import REGIONS, Located, Region
from dashboard.text import md, number
from dashboard.widgets import address, method_list

STAGES = {
    "teach": "Teach",
    "preflight": "Check that it knows",
    "localize": "Find where",
    "unlearn": "Forget",
    "answers": "Answer",
    "evaluate": "Measure",
}

SYMBOLS = {"mu": "μ", "sigma": "σ"}
"""settings that the page Localize and the paper write as a letter"""

Changes = dict[str, Any]
"""path of a setting -> its new value"""

_LEFT = "settings.not_taken"
"""place in the session of what an address asked for in vain: key of a setting -> (its name, the value)"""


def field(item: dict[str, Any], key: str) -> Any:
    """Show the widget of one setting and return its value; a coloured dot marks what differs from the start value."""
    # Only of an address that was opened: later the control has the word, and Streamlit has tidied the address.
    asked = None if key in st.session_state else st.query_params.get(key)
    value, left = _widget(item, key), st.session_state.setdefault(_LEFT, {})
    if asked is not None and not _same(asked, value):
        left[key] = (_name(item), asked)
    elif key in left and value != _shown(item["value"]):
        del left[key]  # somebody has set it since
    return value


def not_taken(prefix: str) -> str:
    """Return what the address asked for and no setting of a form that is shown could be, in words."""
    left: dict[str, tuple[str, str]] = st.session_state.get(_LEFT, {})
    shown = [one for key, one in left.items() if key.startswith(f"{prefix}.") and key in st.session_state]
    return ", ".join(f"{name} = {value[:80]}" for name, value in shown)


def _same(asked: str, value: Any) -> bool:
    """Say whether a setting has the value that an address asked for."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return asked.lower() == str(value).lower()
    with contextlib.suppress(ValueError):
        return float(asked) == value
    return False


def _widget(item: dict[str, Any], key: str) -> Any:
    value = item["value"]
    changed = st.session_state.get(key, _shown(value)) != _shown(value)
    label = f"{':orange[●] ' if changed else ''}{md(_name(item))}"
    if item.get("unit"):
        label += f" :gray[{md(item['unit'])}]"
    options: dict[str, Any] = {"key": key, "help": help_of(item), "bind": "query-params"}
    if isinstance(value, bool):
        return st.toggle(label, value, **options)
    if item.get("choices"):
        choices = list(item["choices"])
        return st.selectbox(label, choices, index=choices.index(value), **options)
    if isinstance(value, int):
        return st.number_input(label, _bound(item, "low", int), _bound(item, "high", int), value, step=1, **options)
    if isinstance(value, float):
        step = 10.0 ** math.floor(math.log10(abs(value))) if value else 0.01
        low, high = _bound(item, "low", float), _bound(item, "high", float)
        return st.number_input(label, low, high, value, step=step, format="%g", **options)
    return st.text_input(label, _shown(value), **options)


def _name(item: dict[str, Any]) -> str:
    return str(SYMBOLS.get(item["name"], item["name"].replace("_", " ")))


def help_of(item: dict[str, Any]) -> str:
    """Return a setting's help: what it is, its range, its source and the preset's value."""
    parts = [md(item["help"].rstrip(".")) + "."]
    low, high = item.get("low"), item.get("high")
    if low is not None and high is not None:
        parts.append(f"Range {number(low)} to {number(high)}.")
    if item.get("source"):
        parts.append(f"Source: {md(item['source'])}.")
    parts.append(f"Start value: {md(_shown(item['value']) or 'empty')}.")
    return " ".join(parts)


def stage_settings(config: RunConfig, prefix: str) -> Changes:
    """Show the settings of all stages in tabs; return those that differ from the preset."""
    changes: Changes = {}
    for tab, stage in zip(st.tabs(list(STAGES.values())), STAGES, strict=True):
        with tab:
            changes |= _block(stage, describe(getattr(config, stage)), prefix)
    return changes


def model_settings(config: RunConfig, prefix: str) -> Changes:
    """Show how the model is loaded and asked; which model it is, is chosen elsewhere."""
    hidden = {"name", "trust_remote_code"}  # code from the hub runs only for those who sit at the command line
    return _block("model", [item for item in describe(config.model) if item["name"] not in hidden], prefix)


def data_settings(config: RunConfig, prefix: str) -> Changes:
    """Show how the data is split and cut; which data it is, is chosen elsewhere."""
    hidden = {"source", "subset", "subjects"}
    return _block("data", [item for item in describe(config.data) if item["name"] not in hidden], prefix)


def member(
    kind: type[Method] | type[Region], current: Method | Region, prefix: str, label: str, text: str
) -> Method | Region:
    """Let a method or region rule be chosen and set; return it. Raises UserError for values out of range."""
    family: dict[str, Any] = METHODS if kind is Method else REGIONS
    if isinstance(current, OwnMethod):  # only the page that starts from a run with one offers it
        family = {**family, current.name: OwnMethod}
    names = method_list.grouped(family)
    key = f"{prefix}.{FAMILIES[kind][0]}"
    address.take(key, names, stays=True)
    name = st.selectbox(
        label,
        names,
        index=names.index(current.name),
        key=key,
        help=text,
        format_func=lambda name: method_list.label(family, name),
    )
    address.keep(key, name if name != current.name else "")
    start = current if name == current.name else family[name]()
    st.caption(f"{md(method_list.in_words(family[name]))}.")
    if isinstance(start, OwnMethod):
        st.caption(f"Here: {md(start.label)}, settings {md(start.settings)}, SHA-256 {start.sha256[:12]}…")
    method_list.facts(family[name])
    config = RunConfig().with_setting("region", start) if kind is Region else _with_method(start)
    stage = "region" if kind is Region else "unlearn"
    items = describe(start)
    thresholds = f"{prefix}.{name}.{stage}.thresholds"
    # Of an address that was just opened the widget, drawn below, does not know yet.
    asked = st.session_state.get(thresholds, st.query_params.get(thresholds))
    if isinstance(start, Located) and (asked or start.thresholds) != "published":
        items = [item for item in items if item["name"] != "published"]  # it says whose, where there are none
    for path, value in _block(stage, items, f"{prefix}.{name}").items():
        config = config.with_setting(path, value)
    return config.region if kind is Region else config.unlearn.method


def _with_method(method: Any) -> RunConfig:
    return RunConfig().with_setting("unlearn.method", method)


def _block(stage: str, items: list[dict[str, Any]], prefix: str) -> Changes:
    changes: Changes = {}
    if not items:
        return changes
    with st.grid("auto", min_column_width=200, gap="small"):
        for item in items:
            value = field(item, f"{prefix}.{stage}.{item['name']}")
            if value is not None and value != _shown(item["value"]):
                changes[f"{stage}.{item['name']}"] = value
    return changes


def _shown(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value


def _bound(item: dict[str, Any], name: str, kind: type) -> Any:
    found = item.get(name)
    return None if found is None else kind(found)
