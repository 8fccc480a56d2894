"""Which tensors are selected on the Localize page: by thresholds or by hand; kept in the session and in the address."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from core.regions import Cells, Located, Region

if TYPE_CHECKING:
    import pandas as pd

PARAMETER = "region"
CATCHES_UP = 1.5
"""seconds after which a browser's address is surely the one that was written last"""
BY = {"thresholds": "Thresholds", "hand": "By hand"}


@dataclass(frozen=True)
class Selection:
    """How the region is chosen; only one of both counts."""

    rule: Located
    hand: tuple[str, ...] | None = None
    """tensor names, in table order; None: the rule decides"""

    def region(self) -> Region:
        """Return the rule that a run would use."""
        return self.rule if self.hand is None else Cells(self.hand)

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return the selected tensors, in table order."""
        return self.region().select(table)


def own(region: Region, tensors: Sequence[str]) -> Selection:
    """Return the selection that a run was made with; rules without thresholds are shown as the cells they chose."""
    return Selection(region) if type(region) is Located else Selection(Located(), tuple(tensors))


def origin(selection: Selection, start: Selection, rule: Region) -> str:
    """Say what selected the tensors where thresholds did not. start: what the run was made with; rule: the run's own."""
    return (
        f"chosen by the rule “{rule.name}”"
        if selection.hand == start.hand and not isinstance(rule, Cells)
        else "picked by hand"
    )


def write(selection: Selection, table: pd.DataFrame) -> str:
    """Write a selection for an address: `quantile:0.5:0.5`, or `hand:` with one bit a tensor in base64."""
    if selection.hand is None:
        rule = selection.rule
        return f"{rule.thresholds}:{rule.mu:.15g}:{rule.sigma:.15g}"
    import numpy as np

    bits = np.packbits(table["name"].isin(set(selection.hand)).to_numpy())
    return "hand:" + base64.urlsafe_b64encode(bits.tobytes()).decode().rstrip("=")


def read(text: str, table: pd.DataFrame, fallback: Selection) -> Selection:
    """Read what `write` wrote; an address that makes no sense gives the fallback."""
    kind, _, rest = text.partition(":")
    try:
        if kind == "hand":
            import numpy as np

            raw = base64.urlsafe_b64decode(rest + "=" * (-len(rest) % 4))
            bits = np.unpackbits(np.frombuffer(raw, np.uint8))
            if not 0 <= len(bits) - len(table) < 8:
                return fallback
            return Selection(fallback.rule, live(table.loc[bits[: len(table)].astype(bool), "name"], table))
        mu, sigma = (float(part) for part in rest.split(":"))
    except (ValueError, binascii.Error):
        return fallback
    if kind == "quantile" and 0 <= mu <= 1 and 0 <= sigma <= 1:
        return Selection(Located("quantile", mu, sigma))
    if kind == "absolute" and -1 <= mu <= 1 and 0 <= sigma <= 1e6:
        return Selection(Located("absolute", mu, sigma))
    return fallback


def live(names: Iterable[str], table: pd.DataFrame) -> tuple[str, ...]:
    """Return those of the names that exist and have a gradient, in table order."""
    wanted = set(names)
    return tuple(table.loc[table["has_gradient"] & table["name"].isin(wanted), "name"])


def from_address(table: pd.DataFrame, start: Selection, run: str) -> Selection | None:
    """Return the selection that the address newly asks for; None where it says what the page already shows.

    That is so on a first visit, after back and forward, and when another run is picked.
    """
    state, given = st.session_state, st.query_params.get(PARAMETER, "")
    written = state.get("selection_written")
    if state.get("selection_of") == run:
        # A visit to another page drops the controls' values, and the browser's link back the address's words.
        if "mu" not in state and given in ("", written):
            kept: Selection = state["selected"]
            return kept
        behind = time.monotonic() - state.get("selection_moment", -CATCHES_UP) < CATCHES_UP
        if behind or given == written:
            return None
    elif given == written:
        given = ""  # the picker changed the run, and the words still speak of the one before
    state["selection_of"] = run
    return read(given, table, start) if given else start


def to_address(selection: Selection, start: Selection, table: pd.DataFrame) -> None:
    """Put a selection into the address; the run's own needs no words."""
    text = "" if selection == start else write(selection, table)
    if st.query_params.get(PARAMETER, "") != text:
        if text:
            st.query_params[PARAMETER] = text
        else:
            del st.query_params[PARAMETER]
        st.session_state["selection_moment"] = time.monotonic()
    st.session_state["selection_written"] = text
