"""Forms made from the engine's own settings: label, unit, range and source all come from core.config.run_config."""

from __future__ import annotations

import contextlib
from typing import Any

import streamlit as st

from core.config import published
from core.config.run_config import FAMILIES, RunConfig, describe
from core.methods import METHODS, Method
from core.methods.own import OwnMethod
from core.models.cells import at, labels, layer_and_module
from core.models.cells import number as layer_number
from core.regions import REGIONS, Cells, Located, Region
from core.regions.words import words
from dashboard.text import md
from dashboard.widgets import address, method_list
from dashboard.widgets.setting_fields import fields

STAGES = {
    "teach": "Teach",
    "preflight": "Check that it knows",
    "localize": "Estimate where",
    "unlearn": "Forget",
    "answers": "Answer",
    "evaluate": "Measure",
}

Changes = dict[str, Any]
"""path of a setting -> its new value"""


def sourced(config: RunConfig, stage: str) -> list[dict[str, Any]]:
    """Describe a stage's settings; of a published preset the source is the line of the released code."""
    of = published.values(config.preset, config.unlearn.method.name) if config.preset in published.PRESETS else {}
    settings = describe(getattr(config, stage))
    return [{**each, "source": of[path].source} if (path := f"{stage}.{each['name']}") in of else each for each in settings]


def stage_settings(config: RunConfig, prefix: str) -> Changes:
    """Show the settings of all stages in tabs; return those that differ from the preset."""
    changes: Changes = {}
    for tab, stage in zip(st.tabs(list(STAGES.values())), STAGES, strict=True):
        with tab:
            changes |= _block(stage, sourced(config, stage), prefix)
    return changes


def model_settings(config: RunConfig, prefix: str) -> Changes:
    """Show how the model is loaded and asked; which model it is, is chosen elsewhere."""
    hidden = {"name", "trust_remote_code"}  # code from the hub runs only for those who sit at the command line
    return _block("model", [setting for setting in sourced(config, "model") if setting["name"] not in hidden], prefix)


def data_settings(config: RunConfig, prefix: str) -> Changes:
    """Show how the data is split and cut; which data it is, is chosen elsewhere."""
    hidden = {"source", "subset", "subjects"}
    return _block("data", [setting for setting in sourced(config, "data") if setting["name"] not in hidden], prefix)


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
    settings = describe(start)
    thresholds = f"{prefix}.{name}.{stage}.thresholds"
    # Of an address that was just opened the widget, drawn below, does not know yet.
    asked = st.session_state.get(thresholds, st.query_params.get(thresholds))
    if isinstance(start, Located) and (asked or start.thresholds) != "published":
        settings = [setting for setting in settings if setting["name"] != "published"]  # it says whose, where there are none
    place = st.container()
    # Its one setting is a list of names that is longer than any field.
    listed = st.expander("The list", expanded=not start.cells) if isinstance(start, Cells) else contextlib.nullcontext()
    with listed:
        changes = _block(stage, settings, f"{prefix}.{name}")
    for path, value in changes.items():
        config = config.with_setting(path, value)
    if isinstance(start, Cells) and isinstance(config.region, Cells) and config.region.cells:
        place.markdown(f"Here: {md(picked(config.region))}.")
    return config.region if kind is Region else config.unlearn.method


def picked(region: Cells) -> str:
    """Say which cells a list names: how many, in which layers, of which modules."""
    places = [layer_and_module(name.rsplit(".lora_", 1)[0]) for name in region.cells]
    layers, modules = sorted({layer for layer, _ in places}), labels(dict.fromkeys(module for _, module in places))
    every = layers[-1] - layers[0] < len(layers)
    span = f"{layer_number(layers[0])} to {layer_number(layers[-1])}"
    where = at(layers[0]) if len(layers) == 1 else f"layers {span}" if every else f"{len(layers)} layers from {span}"
    return f"{words(region)}, {where}: {', '.join(modules.values())}"


def _with_method(method: Any) -> RunConfig:
    return RunConfig().with_setting("unlearn.method", method)


def _block(stage: str, settings: list[dict[str, Any]], prefix: str) -> Changes:
    return {f"{stage}.{name}": value for name, value in fields(settings, f"{prefix}.{stage}").items()}
