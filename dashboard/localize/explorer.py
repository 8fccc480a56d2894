"""The central picture of the Localize page: heatmap and scatter, linked in the browser.

Both are drawn from figures made in Python. While a threshold is dragged, the browser repaints both from the statistics
that it already holds; Python hears the value on release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from dashboard.charts.heatmap import WHOLE
from dashboard.widgets.plot import SHELL, plain, script, style

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from dashboard.charts.base import Figure
    from dashboard.charts.palette import Palette

HERE = Path(__file__).parent
_PART = st.components.v2.component(
    "explorer", html=SHELL, css=style(HERE / "explorer.css"), js=script(HERE / "explorer.js"), isolate_styles=False
)

Picked = Callable[[dict[str, Any]], None]
Moved = Callable[[float, float], None]


def statistics(table: pd.DataFrame, x: np.ndarray, y: np.ndarray) -> dict[str, list[Any]]:
    """Return what the browser needs to apply a threshold: a value a tensor, and where its cell stands."""
    drawn = table["has_gradient"] & (table["mag_unlearn"] > 0)
    return {
        "cos": [None if value != value else value for value in table["cos"].tolist()],
        "mag": table["mag_unlearn"].tolist(),
        "live": table["has_gradient"].astype(int).tolist(),
        "drawn": drawn.astype(int).tolist(),
        "size": (table["rows"] * table["columns"]).tolist(),
        "x": x.tolist(),
        "y": y.tolist(),
    }


def heat(
    fig: Figure,
    alt: str,
    *,
    link: str,
    measure: str,
    logarithmic: bool,
    draggable: bool,
    palette: Palette,
    layers: Sequence[int],
    mu: float,
    sigma: float,
    facts: Sequence[tuple[str, str]],
    columns: Mapping[str, Sequence[Any]],
    on_picked: Picked,
    on_moved: Moved,
) -> None:
    """Show the heatmap; a click on a cell, or on the bar of a layer or module, calls on_picked."""
    data = {
        "measure": measure,
        "logarithmic": logarithmic,
        "layers": list(layers),
        "accent": palette.accent,
        "faded": measure not in WHOLE,
        "mu": mu,
        "sigma": sigma,
    }
    _show("heatmap", "heat", fig, alt, link, draggable, facts, columns, on_picked, on_moved, data)


def scatter(
    fig: Figure,
    alt: str,
    *,
    link: str,
    draggable: bool,
    cells: Mapping[str, Any],
    mu: float,
    sigma: float,
    palette: Palette,
    facts: Sequence[tuple[str, str]],
    on_picked: Picked,
    on_moved: Moved,
) -> None:
    """Show the scatter with both threshold lines; a drawn box calls on_picked with the tensors in it."""
    colours = {"accent": palette.accent, "before": palette.before}
    data = {"cells": cells, "mu": mu, "sigma": sigma, "colours": colours}
    _show("scatter", "scatter", fig, alt, link, draggable, facts, None, on_picked, on_moved, data)


def _show(
    key: str,
    part: str,
    fig: Figure,
    alt: str,
    link: str,
    draggable: bool,
    facts: Sequence[tuple[str, str]],
    columns: Mapping[str, Sequence[Any]] | None,
    on_picked: Picked,
    on_moved: Moved,
    more: dict[str, Any],
) -> None:
    def picked() -> None:
        if isinstance(found := st.session_state[key].picked, dict):
            on_picked(found)

    def moved() -> None:
        if isinstance(found := st.session_state[key].moved, dict):
            on_moved(float(found["mu"]), float(found["sigma"]))

    _PART(
        key=key,
        data={
            "part": part,
            "figure": plain(fig),
            "name": key,
            "alt": alt,
            "link": link,
            "draggable": draggable,
            "facts": [list(pair) for pair in facts],
            "columns": columns,
            **more,
        },
        on_picked_change=picked,
        on_moved_change=moved,
    )
