"""Model utility (TOFU, arXiv 2401.06121, section 2.2): what is left of the retention scope, in one number.

The harmonic mean of probability, ROUGE-L and max(0, 1 − truth ratio) on the retention scope, in percent: one that is near
0 pulls all down. TOFU averages the same three over three data sets and takes ROUGE's recall; ours is the F-measure, and
the truth ratio's mean is over those examples that have one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.metrics import intervals, probability, rouge, truth_ratio
from core.metrics.base import Evidence, Metric, Score, bounds, parts


def compute(evidence: Evidence) -> Score:
    """Return the model utility per voice and split of the retention scope."""
    without = truth_ratio.compute(evidence).reasons.get("all")
    if without:
        return Score({}, reasons={"all": f"it needs the truth ratio: {without}"})
    score = Score({}, reasons=dict(evidence.missing))
    for voice in truth_ratio.voices(evidence):
        three = (
            probability.of_examples(evidence.tokens, voice),
            rouge.of_examples(evidence, voice),
            {i: 100.0 * max(0.0, 1 - ratio) for i, ratio in truth_ratio.of_examples(evidence, voice).items()},
        )
        score.values[voice], pairs = {}, {}
        for part, ids in parts(evidence, three[0]):
            table = np.array([[by_example.get(i, np.nan) for by_example in three] for i in ids])
            if part.startswith("retention") and not np.isnan(table).all(axis=0).any():
                score.values[voice][part] = float(utility(table, np.full((1, len(ids)), 1 / len(ids)))[0])
                pairs[part] = intervals.interval(utility(table, intervals.weights(len(ids)))) if len(ids) > 1 else None
        score.intervals[voice] = bounds(pairs)
    if not any(score.values.values()):
        return Score({}, reasons={"all": "it needs truth ratios on the retention scope, where no fact could be replaced"})
    return score


def utility(table: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the harmonic mean of a table's column means, once for each row of weights; NaN cells do not count.

    table (examples, 3), weights (draws, examples) -> (draws,); NaN where a column has no value in a draw.
    """
    present = ~np.isnan(table)
    counts = weights @ present
    means = np.divide(weights @ np.where(present, table, 0.0), counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    # A mean of 0 makes the harmonic mean 0, by way of an infinite inverse.
    inverse = np.divide(1.0, means, out=np.full(means.shape, np.inf), where=means != 0)
    utilities: NDArray[np.float64] = means.shape[1] / inverse.sum(axis=1)
    return utilities


MODEL_UTILITY = Metric(
    "model_utility",
    "%",
    "harmonic mean of probability, ROUGE-L and 1 − truth ratio on the retention scope (TOFU)",
    "high",
    compute,
)
