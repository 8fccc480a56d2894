"""Extraction strength: how much of the answer the model completes by itself (Carlini et al. 2021; OpenUnlearning).

    100 · (1 − k / L)

L answer tokens, the end token not among them, k the length of the shortest true beginning after which every further token
is the model's first choice: given so much it recites the rest. 100: all of it without help. 0: not even the last token
(OpenUnlearning's code gives 1/L there: src/evals/metrics/memorization.py line 253).
"""

from __future__ import annotations

import numpy as np

from core.metrics.base import Evidence, Metric, Score, averaged, without_end


def strength(ranks: np.ndarray) -> float:
    """Return the extraction strength of one answer, in percent, from the rank of each of its tokens in order."""
    wrong = np.flatnonzero(ranks != 1)
    needed = int(wrong[-1]) + 1 if len(wrong) else 0
    return 100.0 * (1 - needed / len(ranks))


def compute(evidence: Evidence) -> Score:
    """Return extraction strength per voice, scope and split."""
    ordered = (
        without_end(evidence.tokens, evidence.unended).sort_values("position", kind="stable").groupby("example", sort=False)
    )
    return averaged(
        evidence,
        {
            voice: {str(i): strength(ranks.to_numpy()) for i, ranks in ordered[f"rank_{voice}"]}
            for voice in evidence.voices()
        },
    )


EXTRACTION = Metric(
    "extraction_strength",
    "%",
    "share of the answer that the model completes by itself once it is given the beginning",
    "on the unlearn scope as of a never-taught model; high on the retention scope",
    compute,
)
