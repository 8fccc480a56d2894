"""Answer-token accuracy: the paper's measure, from which Unlearn and Retention Success follow.

Per example the share of answer tokens (end token included) that are the model's most probable next token,
teacher-forced; then the mean over examples. Unlearn Success = 100 − accuracy(U), Retention Success = accuracy(R)
(arXiv 2407.01920, section 4.1). A model that was never taught has an Unlearn Success far above 0: always read it
beside that reference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.metrics.base import Evidence, Metric, Score, averaged

if TYPE_CHECKING:
    import pandas as pd


def shares(tokens: pd.DataFrame, voice: str) -> dict[str, float]:
    """Return example -> share (0 to 1) of its answer tokens that the voice has as its first choice."""
    means = (tokens[f"rank_{voice}"] == 1).groupby(tokens["example"], sort=False).mean()
    return {str(example): float(share) for example, share in means.items()}


def of_examples(tokens: pd.DataFrame, voice: str) -> dict[str, float]:
    """Return the same in percent."""
    return {example: 100.0 * share for example, share in shares(tokens, voice).items()}


def mean(tokens: pd.DataFrame, voice: str, ids: Sequence[str]) -> float:
    """Return the mean over some examples, of those that were scored; NaN where none was."""
    percents = of_examples(tokens, voice)
    scored = [percents[i] for i in ids if i in percents]
    return sum(scored) / len(scored) if scored else math.nan


def compute(evidence: Evidence) -> Score:
    """Return accuracy per voice, scope and split."""
    return averaged(evidence, {voice: of_examples(evidence.tokens, voice) for voice in evidence.voices()})


ACCURACY = Metric(
    "accuracy",
    "%",
    "share of answer tokens that are the model's first choice (Unlearn Success is 100 − this on the unlearn scope)",
    "low on the unlearn scope but not below never-taught; high on the retention scope",
    compute,
)
