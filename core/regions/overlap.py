"""How much two regions or two localizations agree, and how much of that is chance. No heavy import.

Two random regions of a and b tensors out of N share K tensors, K hypergeometric: chance is computed exactly, not drawn.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING

from core.util.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Overlap:
    """Two regions on the same tensors."""

    first: int
    """tensors in the first region"""
    second: int
    """tensors in the second region"""
    both: int
    """tensors in both"""
    total: int
    """tensors that could have been chosen"""
    jaccard: float
    """both / either, 0 … 1"""
    chance: float
    """expected Jaccard of two random regions of these sizes"""
    as_large_by_chance: float
    """probability that two random regions of these sizes share at least as many tensors"""


def overlap(first: Collection[str], second: Collection[str], total: int) -> Overlap:
    """Compare two regions out of `total` tensors. Raises UserError where one is empty."""
    a, b = len(set(first)), len(set(second))
    if not a or not b:
        raise UserError("One of the regions is empty.", "Choose thresholds that select tensors in both.")
    both = len(set(first) & set(second))
    ways = comb(total, b)
    shares = {k: comb(a, k) * comb(total - a, b - k) / ways for k in range(max(0, a + b - total), min(a, b) + 1)}
    expected = sum(p * k / (a + b - k) for k, p in shares.items())
    at_least = sum(p for k, p in shares.items() if k >= both)
    return Overlap(a, b, both, total, both / (a + b - both), expected, min(1.0, at_least))


def aligned(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of two localization tables for the tensors that both have, in the order of the first.

    Raises UserError where they have none in common: the runs are of different models.
    """
    order = [name for name in first["name"] if name in set(second["name"])]
    if not order:
        raise UserError("These two runs have no tensor in common.", "Compare runs of the same model.")
    return first.set_index("name").loc[order].reset_index(), second.set_index("name").loc[order].reset_index()


def rank_correlation(first: pd.Series, second: pd.Series) -> float:
    """Return Spearman's rank correlation, −1 … 1, over the entries that both have; NaN for fewer than three."""
    present = first.notna() & second.notna()
    if present.sum() < 3:
        return float("nan")
    return float(first[present].rank().corr(second[present].rank()))
