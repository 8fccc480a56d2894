"""The controls of the thresholds: published pairs, unit, μ and σ, each as a slider and as a number."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.regions import PUBLISHED, Located
from dashboard.localize import selection_state
from dashboard.localize.selection_state import FREE, OWN, tell
from dashboard.text import number
from dashboard.widgets import glossary, selection

if TYPE_CHECKING:
    import pandas as pd
    from streamlit.delta_generator import DeltaGenerator

PAPER = {f"{model} {subset} (paper)": pair for (model, subset), pair in PUBLISHED.items()}
MODES = {"quantile": "Quantile", "absolute": "Absolute"}
MU = (
    "Shared below (μ)",
    "Take tensors whose pull to forget is shared with what is kept less than this. Lower is stricter.",
    "μ",
    "cosine",
)
SIGMA = (
    "Pull to forget above (σ)",
    "Take tensors at which what is to be forgotten pulls harder than this. Higher is stricter.",
    "σ",
)


def sigma_steps(table: pd.DataFrame, *given: float) -> list[float]:
    """Return 80 magnitudes, evenly spaced on a logarithmic scale over the table's range, the published, the given."""
    import numpy as np

    live = table.loc[table["has_gradient"] & (table["mag_unlearn"] > 0), "mag_unlearn"]
    low, high = (float(live.min()), float(live.max())) if len(live) else (1e-6, 1e-2)
    grid = [float(f"{value:.3g}") for value in np.geomspace(low * 0.9, max(high * 1.1, low), 80)]
    return sorted({0.0, *grid, *given, *(sigma for _, sigma in PAPER.values())})


def choose(table: pd.DataFrame, own: Located | None) -> None:
    """Show the controls. own: the run's thresholds, None where it was made with another rule."""
    tell("preset")
    st.selectbox(
        "Start from",
        [*([OWN] if own else []), *PAPER, FREE],
        key="preset",
        on_change=_take_preset,
        args=(own, table),
        help="This run's own thresholds, or a pair of the paper (Table 12, chosen for 7B models).",
    )
    tell("mode")
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
    absolute = selection_state.current().rule.thresholds == "absolute"
    _mu(-1.0 if absolute else 0.0)
    _sigma(table, absolute)


def _mu(low: float) -> None:
    label, words = MU[0], f"{MU[1]}  \n{glossary.help_text(*MU[2:])}"
    left, right = st.columns([2.2, 1], vertical_alignment="bottom")
    left.slider(label, low, 1.0, step=0.001, format="%.3f", help=words, **_told("mu"))
    _number(right, label, low, 1.0, 0.01, "%.3f", "mu_number")


def _sigma(table: pd.DataFrame, absolute: bool) -> None:
    label, words = SIGMA[0], f"{SIGMA[1]}  \n{glossary.help_text(*SIGMA[2:])}"
    left, right = st.columns([2.2, 1], vertical_alignment="bottom")
    if absolute:
        state = selection_state.current()
        # Its steps stay as they are while it is moved: a step that vanished would let go of the keyboard.
        steps = sigma_steps(table, float(state.rule.sigma), state.controls["sigma"].since[-1])
        left.select_slider(label, steps, format_func=number, help=words, **_told("sigma"))
        _number(right, label, 0.0, 1e6, 1e-5, "%.2e", "sigma_number")
    else:
        left.slider(label, 0.0, 1.0, step=0.001, format="%.3f", help=words, **_told("sigma"))
        _number(right, label, 0.0, 1.0, 0.01, "%.3f", "sigma_number")


def _number(column: DeltaGenerator, label: str, low: float, high: float, step: float, form: str, name: str) -> None:
    column.number_input(
        f"{label}, as a number", low, high, step=step, format=form, label_visibility="collapsed", **_told(name)
    )


def _told(name: str) -> dict[str, Any]:
    tell(name)
    return {"key": name, "on_change": _take_number, "args": (name,)}


def _take_number(name: str) -> None:
    rule = selection_state.current().rule

    def take(value: float) -> dict[str, Any]:
        of_mu = name in ("mu", "mu_number")
        return {"rule": replace(rule, mu=float(value)) if of_mu else replace(rule, sigma=float(value)), "preset": FREE}

    selection_state.taken(name, take)


def _take_preset(own: Located | None, table: pd.DataFrame) -> None:
    def take(name: str) -> dict[str, Any]:
        if name == OWN and own is not None:
            return {"rule": selection.spelled_out(own, table), "preset": OWN}
        return {"rule": Located("absolute", *PAPER[name]), "preset": name} if name in PAPER else {"preset": FREE}

    selection_state.taken("preset", take)


def _change_unit(table: pd.DataFrame) -> None:
    """Keep the region: the picture must not jump when only the ruler changes."""
    rule = selection_state.current().rule
    selection_state.taken("mode", lambda unit: {"rule": selection.converted(rule, unit, table), "preset": FREE})
