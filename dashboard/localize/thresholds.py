"""The controls of the thresholds: published pairs, unit, μ and σ, each as a slider and as a number."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import streamlit as st

from core.regions import PUBLISHED, Located
from dashboard.text import number

if TYPE_CHECKING:
    import pandas as pd

OWN = "This run's own"
FREE = "Set here"
PAPER = {f"{model} {subset} (paper)": pair for (model, subset), pair in PUBLISHED.items()}
ECHO = 1.0
"""Seconds after a move of a slider in which a change of its number field was not made by a person."""
DIGITS = (3, 4, 5, 6)
"""after the point, or significant ones of an absolute σ"""
MODES = {"quantile": "Quantile", "absolute": "Absolute"}
MU = ("μ: cosine below", "Take tensors in which the two scopes' gradients point apart. Lower is stricter.")
SIGMA = ("σ: forget gradient above", "Take tensors that bear strongly on what is to be forgotten. Higher is stricter.")


def sigma_steps(table: pd.DataFrame, given: float) -> list[float]:
    """Return 80 magnitudes, evenly spaced on a logarithmic scale over the table's range, the published and the given one."""
    import numpy as np

    live = table.loc[table["has_gradient"] & (table["mag_unlearn"] > 0), "mag_unlearn"]
    low, high = (float(live.min()), float(live.max())) if len(live) else (1e-6, 1e-2)
    grid = [float(f"{value:.3g}") for value in np.geomspace(low * 0.9, max(high * 1.1, low), 80)]
    return sorted({0.0, *grid, given, *(sigma for _, sigma in PAPER.values())})


def put(rule: Located, table: pd.DataFrame, preset: str) -> None:
    """Put a rule into the controls (before they are drawn)."""
    state = st.session_state
    if rule.thresholds == "published":
        mu, sigma = rule.limits(table)
        rule = Located("absolute", mu, sigma)
    state["mode"], state["mu"], state["sigma"] = rule.thresholds, float(rule.mu), float(rule.sigma)
    state["mu_number"], state["sigma_number"], state["preset"] = state["mu"], state["sigma"], preset


def now() -> Located:
    """Return the rule that the controls spell."""
    state = st.session_state
    return Located(state["mode"], float(state["mu"]), float(state["sigma"]))


def choose(table: pd.DataFrame, own: Located | None) -> None:
    """Show the controls. own: the run's thresholds, None where it was made with another rule."""
    presets = [*([OWN] if own else []), *PAPER, FREE]
    st.selectbox(
        "Start from",
        presets,
        key="preset",
        on_change=_take_preset,
        args=(own, table),
        help="This run's own thresholds, or a pair of the paper (Table 12, chosen for 7B models).",
    )
    st.segmented_control(
        "Unit",
        list(MODES),
        format_func=MODES.get,
        key="mode",
        on_change=_change_unit,
        args=(table,),
        required=True,
        help="Quantile: 0.5 is the median of all tensors, so it fits any model. Absolute: the values themselves.",
    )
    absolute = st.session_state["mode"] == "absolute"
    _mu(-1.0 if absolute else 0.0)
    _sigma(table, absolute)


def _mu(low: float) -> None:
    label, words = MU
    left, right = st.columns([2.2, 1], vertical_alignment="bottom")
    left.slider(label, low, 1.0, step=0.001, format="%.3f", key="mu", on_change=_moved, args=("mu",), help=words)
    right.number_input(
        f"{label}, as a number",
        low,
        1.0,
        step=0.01,
        format="%.3f",
        key="mu_number",
        on_change=_typed,
        args=("mu",),
        label_visibility="collapsed",
    )


def _sigma(table: pd.DataFrame, absolute: bool) -> None:
    label, words = SIGMA
    left, right = st.columns([2.2, 1], vertical_alignment="bottom")
    if absolute:
        steps = sigma_steps(table, st.session_state["sigma"])
        left.select_slider(label, steps, format_func=number, key="sigma", on_change=_moved, args=("sigma",), help=words)
        high, step, form = 1e6, 1e-5, "%.2e"
    else:
        left.slider(label, 0.0, 1.0, step=0.001, format="%.3f", key="sigma", on_change=_moved, args=("sigma",), help=words)
        high, step, form = 1.0, 0.01, "%.3f"
    right.number_input(
        f"{label}, as a number",
        0.0,
        high,
        step=step,
        format=form,
        key="sigma_number",
        on_change=_typed,
        args=("sigma",),
        label_visibility="collapsed",
    )


def dragged(mu: float, sigma: float, table: pd.DataFrame) -> None:
    """Take over thresholds that were dragged in the picture, in the unit that the controls use."""
    rule = Located("absolute", mu, sigma)
    put(rule if st.session_state["mode"] == "absolute" else converted(rule, "quantile", table), table, FREE)


def _moved(name: str) -> None:
    st.session_state[f"{name}_number"] = float(st.session_state[name])
    st.session_state[f"{name}_moved"] = time.monotonic()
    st.session_state["preset"] = FREE


def _typed(name: str) -> None:
    """Take over a typed number, unless it is the echo of one that the slider has just replaced.

    With quick presses of a key the browser sends the slider's next value before it has heard what the first one made of
    the number field; that field's old value would then count as typed, and put the slider back.
    """
    state = st.session_state
    if time.monotonic() - state.get(f"{name}_moved", -ECHO) < ECHO:
        state[f"{name}_number"] = float(state[name])
        return
    state[name] = float(state[f"{name}_number"])
    state["preset"] = FREE


def _take_preset(own: Located | None, table: pd.DataFrame) -> None:
    name = st.session_state["preset"]
    if name == OWN and own is not None:
        put(own, table, OWN)
    elif name in PAPER:
        put(Located("absolute", *PAPER[name]), table, name)


def _change_unit(table: pd.DataFrame) -> None:
    """Keep the region: the picture must not jump when only the ruler changes."""
    state = st.session_state
    old = Located("quantile" if state["mode"] == "absolute" else "absolute", state["mu"], state["sigma"])
    put(converted(old, state["mode"], table), table, FREE)


def converted(rule: Located, mode: str, table: pd.DataFrame) -> Located:
    """Return the rule in the other unit, with as few digits as select the same tensors.

    No quantile takes the largest cosine or the smallest gradient: a rule that does loses these.
    """
    mu, sigma = rule.limits(table) if mode == "absolute" else _quantiles(rule, table[table["has_gradient"]])
    wanted = set(rule.select(table))
    for digits in DIGITS:
        short = Located(
            mode, round(mu, digits), round(sigma, digits) if mode == "quantile" else float(f"{sigma:.{digits}g}")
        )
        if set(short.select(table)) == wanted:
            return short
    return Located(mode, mu, sigma)


def _quantiles(rule: Located, live: pd.DataFrame) -> tuple[float, float]:
    """Return the quantiles that lie halfway between the last tensor inside a threshold and the first one outside."""
    gaps = max(len(live) - 1, 1)
    below, under = int((live["cos"] < rule.mu).sum()), int((live["mag_unlearn"] <= rule.sigma).sum())
    mu, sigma = (min(1.0, max(0.0, (count - 0.5) / gaps)) for count in (below, under))
    return mu, sigma
