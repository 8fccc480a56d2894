"""Methods and region rules as people look them up: by where they come from, with formula, source, and what they are known
for.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping

import streamlit as st

from core.config.run_config import describe
from core.methods import METHODS, Method
from core.regions import REGIONS, Region
from dashboard.text import cited, md, number

SEED = "2407.01920"
GROUPS = {"paper": "Compared in the paper", "since": "From the literature since", "own": "Our own"}
SHORT = {"paper": "in the paper", "since": "since then", "own": "our own"}
Kind = type[Method] | type[Region]


def in_words(kind: Kind) -> str:
    """Return what a method or rule is: the first line of a method's file, or of a rule's class."""
    text = sys.modules[kind.__module__].__doc__ if issubclass(kind, Method) else kind.__doc__
    return (text or "").strip().splitlines()[0].rstrip(".") if (text or "").strip() else kind.name


def group(kind: Kind) -> str:
    """Return a key of GROUPS, from the source that the method names."""
    source = source_of(kind)
    if SEED in source:
        return "paper"
    return "own" if not source or source.lower().startswith(("our own", "own")) else "since"


def source_of(kind: Kind) -> str:
    """Return where a method was published; a rule says it in its docstring."""
    if issubclass(kind, Method):
        return kind.source
    return f"arXiv {SEED}" if "paper" in (kind.__doc__ or "").lower() else ""


def grouped(family: Mapping[str, Kind]) -> list[str]:
    """Return names in the order of the groups; within a group as they stand in the family."""
    order = list(GROUPS)
    return sorted(family, key=lambda name: order.index(group(family[name])))


def label(family: Mapping[str, Kind], name: str) -> str:
    """Return a name as it stands in a list to choose from: typing part of it, or of what it is, finds it."""
    kind = family[name]
    origin = f" · {SHORT[group(kind)]}" if issubclass(kind, Method) else ""
    return f"{name} · {in_words(kind)}{origin}"


def facts(kind: Kind) -> None:
    """Show formula, what a method is good and bad at, and its source; a rule says it in its docstring."""
    if not issubclass(kind, Method):
        return
    if kind.formula:
        st.code(kind.formula, language=None, wrap_lines=True)
    if kind.known_for:
        st.caption(md(kind.known_for))
    if kind.source:
        st.caption(f"Source: {cited(kind.source)}")


def show() -> None:
    """List all methods and region rules, with a search field."""
    words = st.text_input(
        "Search",
        key="method_words",
        bind="query-params",
        placeholder="a name, a formula, a paper",
        icon=":material/search:",
        width=420,
    )
    methods = {name: kind for name, kind in METHODS.items() if matches(kind, words or "")}
    rules = {name: kind for name, kind in REGIONS.items() if matches(kind, words or "")}
    st.markdown(
        f"{len(methods)} of {len(METHODS)} methods and {len(rules)} of {len(REGIONS)} region rules; any method "
        "runs on any region."
    )
    for key, title in GROUPS.items():
        mine = [methods[name] for name in methods if group(methods[name]) == key]
        if mine:
            st.markdown(f"##### {title}")
        for kind in mine:
            _entry(kind)
    if rules:
        st.markdown("##### Regions: which tensors may change")
        for rule in rules.values():
            _entry(rule)


def matches(kind: Kind, words: str) -> bool:
    """Say whether every word stands somewhere in what is known of a method or rule."""
    text = f"{kind.name} {in_words(kind)} {inspect.getdoc(kind) or ''} {source_of(kind)}"
    text += f" {kind.formula} {kind.known_for}" if issubclass(kind, Method) else ""
    return all(word in text.lower() for word in words.lower().split())


def _entry(kind: Kind) -> None:
    box = st.expander(f"**{md(kind.name)}** · {md(in_words(kind))}", key=f"about.{kind.name}", on_change="rerun")
    if not box.open:
        return
    with box:
        if issubclass(kind, Method):
            facts(kind)
        else:
            st.caption(md(" ".join((inspect.getdoc(kind) or "").split())))
        settings = describe(kind())
        if not settings:
            st.caption("It has no settings.")
            return
        rows = [
            {
                "setting": md(s["name"].replace("_", " ")),
                "default": md(default(s)),
                "what it is": md(s["help"]),
                "source": cited(s.get("source") or ""),
            }
            for s in settings
        ]
        st.table(rows, border="horizontal", hide_index=True, alt=f"Settings of {kind.name}")


def default(setting: Mapping[str, object]) -> str:
    """Write a setting's default with its unit."""
    value = setting["default"]
    text = (
        number(value) if isinstance(value, float) else ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    )
    return f"{text} {setting.get('unit') or ''}".strip() or "none"
