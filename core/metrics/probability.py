"""Probability of the true answer, as TOFU measures it: p(a|q)^(1/|a|) (arXiv 2401.06121, section 2.2), in percent.

The geometric mean of the answer tokens' probabilities, end token included; then the mean over examples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from core.metrics.base import Evidence, Metric, Score, averaged

if TYPE_CHECKING:
    import pandas as pd


def log_of_examples(tokens: pd.DataFrame, voice: str) -> dict[str, float]:
    """Return example -> mean log-probability per token of its true answer."""
    means = tokens[f"logprob_{voice}"].groupby(tokens["example"], sort=False).mean()
    return {str(example): float(value) for example, value in means.items()}


def of_examples(tokens: pd.DataFrame, voice: str) -> dict[str, float]:
    """Return example -> probability (%) of its true answer, per token."""
    return {i: 100.0 * float(np.exp(value)) for i, value in log_of_examples(tokens, voice).items()}


def compute(evidence: Evidence) -> Score:
    """Return probability per voice, scope and split."""
    return averaged(evidence, {voice: of_examples(evidence.tokens, voice) for voice in evidence.voices()})


PROBABILITY = Metric(
    "probability",
    "%",
    "probability of the true answer, geometric mean over its tokens (TOFU)",
    "on the unlearn scope as of a never-taught model; high on the retention scope",
    compute,
)
