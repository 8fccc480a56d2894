"""The controls that choose a region: mode, μ, σ, and the published pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from core.regions import PUBLISHED, Located, Region
from dashboard.parts.text import number

if TYPE_CHECKING:
    import pandas as pd

OWN = "This run's own"
FREE = "By hand"
PAPER = {f"{model} {subset} (paper)": pair for (model, subset), pair in PUBLISHED.items()}
MODES = {"quantile": "Quantile", "absolute": "Absolute"}


@dataclass(frozen=True)
class Counts:
    """What a region amounts to."""

    count: int
    total: int
    adapter: float
    """percent of the adapter's parameters"""
    model: float | None
    """percent of the model's parameters; None where the run has not recorded the model's size"""


def counts(table: pd.DataFrame, region: Sequence[str], recorded: dict[str, float] | None) -> Counts:
    """Count a region. recorded: region.json, from whose two shares the model's size follows."""
    elements = table["rows"] * table["columns"]
    inside = float(elements[table["name"].isin(set(region))].sum())
    share = 100 * inside / float(elements.sum()) if len(elements) else 0.0
    model = None
    if recorded and recorded.get("share_of_adapter") and recorded.get("share_of_model"):
        model = share * recorded["share_of_model"] / recorded["share_of_adapter"]
    return Counts(len(region), len(table), share, model)


def sigma_steps(table: pd.DataFrame, extra: Sequence[float]) -> list[float]:
    """Return 80 magnitudes, evenly spaced on a logarithmic scale over the table's range, and the given ones."""
    import numpy as np

    live = table.loc[table["has_gradient"] & (table["mag_unlearn"] > 0), "mag_unlearn"]
    low, high = (float(live.min()), float(live.max())) if len(live) else (1e-6, 1e-2)
    grid = [float(f"{value:.3g}") for value in np.geomspace(low * 0.9, max(high * 1.1, low), 80)]
    return sorted({0.0, *grid, *extra})


def choose(table: pd.DataFrame, own: Region, run: str) -> Located:
    """Show the controls, starting from the run's own rule, and return the rule they spell."""
    start = own if isinstance(own, Located) else Located()
    state = st.session_state
    if state.get("threshold_run") != run:
        _set(start, table)
        state["threshold_run"], state["preset"] = run, OWN if isinstance(own, Located) else FREE
    st.selectbox(
        "Thresholds", [OWN, *PAPER, FREE], key="preset", on_change=_take_preset, args=(start, table),
        help="Start from this run's own thresholds or from a pair of the paper (Table 12, chosen for 7B models).",
    )  # fmt: skip
    st.segmented_control(
        "Scale", list(MODES), format_func=MODES.get, key="mode", on_change=_change_scale, args=(table,), required=True,
        help="Quantile: 0.5 is the median of all tensors, so it fits any model. Absolute: the values themselves.",
    )  # fmt: skip
    absolute = state["mode"] == "absolute"
    st.slider(
        "μ: cosine below", -1.0 if absolute else 0.0, 1.0, step=0.01, key="mu", on_change=_by_hand,
        help="Take tensors in which the two scopes' gradients point apart. Lower is stricter.",
    )  # fmt: skip
    label, text = (
        "σ: forget gradient above",
        "Take tensors that bear strongly on what is to be forgotten. Higher is stricter.",
    )
    if absolute:
        steps = sigma_steps(table, [state["sigma"], *(sigma for _, sigma in PAPER.values())])
        st.select_slider(label, steps, format_func=number, key="sigma", on_change=_by_hand, help=text)
    else:
        st.slider(label, 0.0, 1.0, step=0.01, key="sigma", on_change=_by_hand, help=text)
    return Located(state["mode"], float(state["mu"]), float(state["sigma"]))


def _take_preset(own: Located, table: pd.DataFrame) -> None:
    name = st.session_state["preset"]
    if name == OWN:
        _set(own, table)
    elif name in PAPER:
        _set(Located("absolute", *PAPER[name]), table)


def _change_scale(table: pd.DataFrame) -> None:
    """Keep the region: the picture must not jump when only the ruler changes."""
    state = st.session_state
    old = Located("quantile" if state["mode"] == "absolute" else "absolute", state["mu"], state["sigma"])
    _set(converted(old, state["mode"], table), table)
    _by_hand()


def _by_hand() -> None:
    st.session_state["preset"] = FREE


def _set(rule: Located, table: pd.DataFrame) -> None:
    """Put a rule into the controls."""
    state = st.session_state
    if rule.thresholds == "published":
        mu, sigma = rule.limits(table)
        rule = Located("absolute", mu, sigma)
    state["mode"], state["mu"], state["sigma"] = rule.thresholds, float(rule.mu), float(rule.sigma)


def converted(rule: Located, mode: str, table: pd.DataFrame) -> Located:
    """Return the nearest rule in the other unit, on the sliders' steps."""
    live = table[table["has_gradient"]]
    if mode == "absolute":
        mu, sigma = rule.limits(table)
        return Located("absolute", round(mu, 2), float(f"{sigma:.3g}"))
    below = float((live["cos"] < rule.mu).mean()) if len(live) else 0.5
    under = float((live["mag_unlearn"] <= rule.sigma).mean()) if len(live) else 0.5
    return Located("quantile", round(below, 2), round(under, 2))
