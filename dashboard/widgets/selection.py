"""Which tensors are selected, by thresholds or by hand, and how an address spells it. No Streamlit."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.regions import Cells, Located, Region
from core.regions.words import words

if TYPE_CHECKING:
    import pandas as pd

PARAMETER = "region"
"""of the address; its value is what `write` returns"""
DIGITS = (3, 4, 5, 6)
"""after the point, or significant ones of an absolute σ"""


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
    """Say which cells these are where thresholds did not decide. start: what the run was made with; rule: the run's own."""
    return words(rule) if selection.hand == start.hand and not isinstance(rule, Cells) else "cells picked by hand"


def write(selection: Selection, table: pd.DataFrame) -> str:
    """Write a selection for an address: `quantile:0.5:0.5`, or `hand:` with one bit a tensor in base64."""
    if selection.hand is None:
        rule = selection.rule
        return f"{rule.thresholds}:{rule.mu:.15g}:{rule.sigma:.15g}"
    import numpy as np

    bits = np.packbits(table["name"].isin(set(selection.hand)).to_numpy())
    return "hand:" + base64.urlsafe_b64encode(bits.tobytes()).decode().rstrip("=")


def read(text: str, table: pd.DataFrame, fallback: Selection) -> Selection:
    """Read what `write` wrote; an address that is empty or makes no sense gives the fallback."""
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


def spelled_out(rule: Located, table: pd.DataFrame) -> Located:
    """Return a rule whose two numbers are its thresholds: of a published pair its name says them."""
    return Located("absolute", *rule.limits(table)) if rule.thresholds == "published" else rule


def converted(rule: Located, unit: str, table: pd.DataFrame) -> Located:
    """Return the rule in the other unit, with as few digits as select the same tensors.

    No quantile takes the largest cosine or the smallest gradient: a rule that does loses these.
    """
    mu, sigma = rule.limits(table) if unit == "absolute" else _quantiles(rule, table[table["has_gradient"]])
    wanted = set(rule.select(table))
    for digits in DIGITS:
        short = Located(
            unit, round(mu, digits), round(sigma, digits) if unit == "quantile" else float(f"{sigma:.{digits}g}")
        )
        if set(short.select(table)) == wanted:
            return short
    return Located(unit, mu, sigma)


def _quantiles(rule: Located, live: pd.DataFrame) -> tuple[float, float]:
    """Return the quantiles that lie halfway between the last tensor inside a threshold and the first one outside."""
    gaps = max(len(live) - 1, 1)
    below, under = int((live["cos"] < rule.mu).sum()), int((live["mag_unlearn"] <= rule.sigma).sum())
    mu, sigma = (min(1.0, max(0.0, (count - 0.5) / gaps)) for count in (below, under))
    return mu, sigma
