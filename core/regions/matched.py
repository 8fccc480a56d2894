"""Random regions like a given one, which controls are made of: as many tensors of each module, factor and band of layers.

So a control differs from its region in nothing but which layers of a band it has, and has about as many parameters: those of
one module and factor have one shape in nearly all models.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import TYPE_CHECKING

from core.regions.base import reached
from core.util.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

BANDS = 3
"""of layers, equally thick"""
ALIKE = ("module", "factor", "size", "band"), ("module", "factor", "size"), ("factor",)
"""what a draw has in common with its region, the closest first"""
AGAIN = 2 / 3
"""A draw that shares more than this with its region, on average, is no other region: less is then held in common."""


def matched(table: pd.DataFrame, inside: Collection[str], draw: int) -> tuple[str, ...]:
    """Return a random region like `inside`, in table order. table: a run's localization; draw: seed.

    Raises UserError where nearly every tensor of the model lies inside.
    """
    groups = _groups(table, inside)
    source, names = random.Random(draw), set[str]()
    for members, count in groups:
        names.update(source.sample(members, count))
    return tuple(name for name in table["name"] if name in names)


def _groups(table: pd.DataFrame, inside: Collection[str]) -> list[tuple[list[str], int]]:
    """Return the tensors of each kind with the number of them that lie inside."""
    live = table[reached(table)]
    layers = live["layer"]
    band = ((layers - layers.min()) * BANDS // (layers.max() - layers.min() + 1)).clip(upper=BANDS - 1)
    live = live.assign(band=band, size=live["rows"] * live["columns"], inside=live["name"].isin(set(inside)))
    for kind in ALIKE:
        groups = [(part["name"].tolist(), int(part["inside"].sum())) for _, part in live.groupby(list(kind))]
        # Of a kind with n tensors, k of them inside, k²/n are expected to be drawn again.
        if sum(count**2 / len(members) for members, count in groups) <= AGAIN * live["inside"].sum():
            return groups
    raise UserError("This region holds nearly every tensor.", "There is nothing to compare it with.")
