"""Is one run better than others on the same questions? Means, differences and their intervals from runs' token tables.

Both runs of a pair answered the same questions, so questions are drawn once for both: what is easy or hard for every run cancels.
All values are percent or percentage points. No torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.errors import UserError

DRAWS = 2000
"""bootstrap samples: the ends of a 95 % interval are then sure to about a twentieth of its width"""
SCOPES = ("unlearn", "retention")


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2


def success(tokens: pd.DataFrame, split: str, voice: str = "after") -> dict[str, pd.Series]:
    """Return scope -> success (%) by example: 100 − accuracy on the unlearn scope, accuracy on the retention scope.

    tokens: a run's tokens.parquet. Raises UserError where a scope has no example of this split.
    """
    found = {}
    for scope in SCOPES:
        mine = tokens[(tokens["scope"] == scope) & (tokens["split"] == split)]
        if mine.empty:
            raise UserError(f"There is no {scope} example in the split {split}.", "Compare on another split.")
        right = 100.0 * (mine[f"rank_{voice}"] == 1).groupby(mine["example"]).mean()
        found[scope] = 100.0 - right if scope == "unlearn" else right
    return found


def average(tokens: pd.DataFrame, split: str, seed: int = 0) -> Estimate:
    """Return a run's average success with its interval over questions."""
    of = success(tokens, split)
    draws = _draws([of[scope].to_numpy()[None] for scope in SCOPES], np.zeros((DRAWS, 1), dtype=int), seed)
    return _estimate(float(np.mean([of[scope].mean() for scope in SCOPES])), draws)


def difference(given: pd.DataFrame, others: Sequence[pd.DataFrame], split: str, seed: int = 0) -> Estimate:
    """Return by how much a run's average success exceeds the mean of others', with its interval.

    Bootstrapped over the questions of each scope and, where there are several others, over these too: three draws of a
    random region are a sample of all random regions. Raises UserError where the runs did not answer the same questions.
    """
    mine, theirs = success(given, split), [success(other, split) for other in others]
    gaps = []
    for scope in SCOPES:
        for other in theirs:
            if not other[scope].index.equals(mine[scope].index):
                raise UserError("These runs did not answer the same questions.", "Compare runs on the same data.")
        gaps.append(np.stack([(mine[scope] - other[scope]).to_numpy() for other in theirs]))
    picked = np.random.default_rng(seed).integers(len(others), size=(DRAWS, len(others)))
    return _estimate(float(np.mean([gap.mean() for gap in gaps])), _draws(gaps, picked, seed + 1))


def _draws(values: Sequence[np.ndarray], picked: np.ndarray, seed: int) -> np.ndarray:
    """Return (DRAWS,) means over scopes: values are (runs, questions) a scope, picked are (DRAWS, runs drawn)."""
    source, found = np.random.default_rng(seed), np.zeros(len(picked))
    for of in values:
        questions = source.integers(of.shape[1], size=(len(picked), of.shape[1]))
        for number, (runs, where) in enumerate(zip(picked, questions, strict=True)):
            found[number] += of[runs][:, where].mean() / len(values)
    return found


def _estimate(value: float, draws: np.ndarray) -> Estimate:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value, float(low), float(high))
