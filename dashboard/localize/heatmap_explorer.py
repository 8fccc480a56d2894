"""The central picture of the Localize page: heatmap and scatter, linked in the browser.

Both are drawn from figures made in Python. While a threshold is dragged, the browser repaints both from the statistics
that it already holds; Python hears the value on release.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.models import cells as cells_
from core.util.paths import ASSETS
from dashboard.widgets.plot import SHELL, component

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from dashboard.charts.palette import Palette

_PART = component(Path(__file__).with_suffix(""), SHELL, ASSETS / "report" / "threshold")


@dataclass(frozen=True)
class Picture:
    """One of the two plots, and what is told about it."""

    drawn: str
    """of `plot.drawn`: the figure with its CSV as `columns`, or the scatter with what `statistics` returns as `cells`"""
    alt: str
    """what it shows, for those who do not see it"""
    facts: Sequence[tuple[str, str]]
    """(label, words) pairs behind “Where from”"""


@dataclass(frozen=True)
class Shared:
    """What both plots know of the selection."""

    run: str
    session: str
    """whose releases are counted"""
    released: int
    """number of the last release that was heard; the browser passes over what was drawn before its last one was"""
    mu: float
    sigma: float
    """thresholds, as absolute values"""
    draggable: bool
    """thresholds decide"""


@dataclass(frozen=True)
class Heard:
    """What is called when the picture was used."""

    picked: Callable[[dict[str, Any]], None]
    """a click on a cell or a bar, or a box with the tensors in it"""
    moved: Callable[[float, float, int], None]
    """thresholds that were dragged: mu, sigma, number of the release"""
    went_back: Callable[[str, int], None]
    """back or forward: what the address says of the region, number of the release"""


@dataclass(frozen=True)
class Colours:
    """What the heatmap's colours are."""

    measure: str
    logarithmic: bool
    layers: Sequence[int]
    accent: str
    ink: str
    """of the outline"""


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


def heat(picture: Picture, shared: Shared, heard: Heard, colours: Colours) -> None:
    """Show the heatmap; a click on a cell, or on the bar of a layer or module, is heard as picked."""
    more = {**asdict(colours), "layers": list(colours.layers), "inset": cells_.INSET}
    _show("heatmap", "heat", picture, shared, heard, more)


def scatter(picture: Picture, shared: Shared, heard: Heard, palette: Palette) -> None:
    """Show the scatter with both threshold lines; a drawn box is heard as picked."""
    colours = {"accent": palette.accent, "before": palette.before}
    _show("scatter", "scatter", picture, shared, heard, {"colours": colours})


def _show(key: str, part: str, picture: Picture, shared: Shared, heard: Heard, more: dict[str, Any]) -> None:
    def picked() -> None:
        if isinstance(message := st.session_state[key].picked, dict):
            heard.picked(message)

    def released() -> None:
        message = st.session_state[key].released
        if isinstance(message, dict) and "region" in message:
            heard.went_back(str(message["region"]), int(message["number"]))
        elif isinstance(message, dict):
            heard.moved(float(message["mu"]), float(message["sigma"]), int(message["number"]))

    _PART(
        key=key,
        data={
            "part": part,
            "drawn": picture.drawn,
            "name": key,
            "alt": picture.alt,
            "facts": [list(pair) for pair in picture.facts],
            **asdict(shared),
            **more,
        },
        on_picked_change=picked,
        on_released_change=released,
    )
