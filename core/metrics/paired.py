"""Is one run better than others on the same questions? Means, differences and their intervals from runs' files.

Both runs of a pair answered the same questions, so questions are drawn once for both: what is easy or hard for every run
cancels. All values are percent or percentage points. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.data.corpus import SCOPES, Example
from core.metrics import accuracy
from core.metrics.intervals import t975
from core.runs.asked import METRIC
from core.runs.scores import Scores
from core.runs.store import Run
from core.util.errors import UserError

Successes = Mapping[str, pd.Series]
"""scope -> success (%) by example"""
DRAWS = 2000
"""bootstrap samples: the ends of a 95 % interval are then sure to about a twentieth of its width"""


@dataclass(frozen=True)
class Mean:
    """A mean over questions, or a difference of such means, with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2


def said(run: Run, kind: str, voice: str = "after") -> Successes:
    """Return what answers to a kind of question say: success is that a fact of U is not said, and that one of R is.

    Raises UserError where a scope was not asked such questions.
    """
    asked = {e.id: e.scope for e in map(Example.of_row, run.answers()) if e.kind == kind}
    values = Scores.read_once(run).examples(METRIC).get(voice, {})
    by_scope = {}
    for scope in SCOPES:
        facts = {i: value for i, value in values.items() if asked.get(i) == scope}
        if not facts:
            raise UserError(f"The run {run.id} has no answers of this kind.", "It is damaged: start it again.")
        right = pd.Series(facts).sort_index()
        by_scope[scope] = 100.0 - right if scope == "unlearn" else right
    return by_scope


def success(tokens: pd.DataFrame, split: str, voice: str = "after") -> Successes:
    """Return next-word success: 100 − accuracy on the unlearn scope, accuracy on the retention scope.

    tokens: a run's tokens.parquet. Raises UserError where a scope has no example of this split.
    """
    by_scope = {}
    for scope in SCOPES:
        mine = tokens[(tokens["scope"] == scope) & (tokens["split"] == split)]
        if mine.empty:
            raise UserError(f"There is no {scope} example in the split {split}.", "Compare on another split.")
        right = pd.Series(accuracy.of_examples(mine, voice)).sort_index()
        by_scope[scope] = 100.0 - right if scope == "unlearn" else right
    return by_scope


def average(by_scope: Successes, seed: int = 0) -> Mean:
    """Return the mean over both scopes with its interval over questions."""
    low, high = np.quantile(_means([by_scope[scope].to_numpy() for scope in SCOPES], seed), [0.025, 0.975])
    return Mean(float(np.mean([by_scope[scope].mean() for scope in SCOPES])), float(low), float(high))


def difference(mine: Successes, theirs: Sequence[Successes], seed: int = 0, *, one_more: bool = True) -> Mean:
    """Return by how much a run's average over both scopes exceeds the mean of others', with its interval.

    Two variances add up: that of the mean difference over questions (bootstrap) and, where there are several others, that
    of one more such run against their mean, s² (1 + 1/n): the interval is above nothing where hardly any further random
    region would have done as well. Without `one_more` it is that of the mean of all such runs, s²/n. The interval is
    Student's, with the degrees of freedom of Welch and Satterthwaite; three draws are too few to be resampled. With one
    other run it is over questions only. Raises UserError where the runs did not answer the same questions.
    """
    gaps = _gaps(mine, theirs)
    each = np.mean([gap.mean(axis=1) for gap in gaps], axis=0)
    over_questions = float(_means([gap.mean(axis=0) for gap in gaps], seed).var())
    over_others = float(each.var(ddof=1)) * (one_more + 1 / len(each)) if len(each) > 1 else 0.0
    error = math.sqrt(over_questions + over_others)
    free = (over_questions + over_others) ** 2 * (len(each) - 1) / over_others**2 if over_others else math.inf
    value = float(each.mean())
    return Mean(value, value - t975(free) * error, value + t975(free) * error)


def advantages(mine: Successes, theirs: Sequence[Successes]) -> list[float]:
    """Return by how much a run's average over both scopes exceeds that of each other. Raises UserError as `difference`."""
    return list(np.mean([gap.mean(axis=1) for gap in _gaps(mine, theirs)], axis=0).tolist())


def _gaps(mine: Successes, theirs: Sequence[Successes]) -> list[np.ndarray]:
    """Return the differences by scope: (others, questions)."""
    gaps = []
    for scope in SCOPES:
        for other in theirs:
            if not other[scope].index.equals(mine[scope].index):
                raise UserError("These runs did not answer the same questions.", "Compare runs on the same data.")
        gaps.append(np.stack([(mine[scope] - other[scope]).to_numpy() for other in theirs]))
    return gaps


def _means(values: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """Return (DRAWS,) means over scopes of (questions,) values, questions drawn with replacement."""
    source = np.random.default_rng(seed)
    drawn = [
        per_question[source.integers(len(per_question), size=(DRAWS, len(per_question)))].mean(axis=1)
        for per_question in values
    ]
    return np.asarray(np.mean(drawn, axis=0))
