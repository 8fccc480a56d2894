"""Fluency: perplexity of the voice's own answer under "before", the model as it was.

exp of minus the mean log-probability per token of the generated answer; over a part exp of minus the mean of these means.
High where the answer is noise, but also where it is a plain sentence with facts other than the taught ones: the
never-taught model's answers show how high that is. Empty answers have no value, and are counted by `degenerate`.
"""

from __future__ import annotations

import numpy as np

from core.metrics import intervals
from core.metrics.base import NOT_RECORDED, Evidence, Metric, Score, bounds, parts


def compute(evidence: Evidence) -> Score:
    """Return the perplexity of own answers per voice, scope and split."""
    if not evidence.fluency:
        return Score({}, reasons={"all": f"the fluency of answers {NOT_RECORDED}"})
    score = Score({}, reasons=dict(evidence.missing))
    for voice, logprobs in evidence.fluency.items():
        score.examples[voice] = {i: float(np.exp(-value)) for i, value in logprobs.items()}
        score.values[voice], pairs = {}, {}
        for part, ids in parts(evidence, logprobs):
            logs = np.array([logprobs[i] for i in ids])
            score.values[voice][part] = float(np.exp(-logs.mean()))
            pairs[part] = intervals.interval(np.exp(-(intervals.weights(len(ids)) @ logs))) if len(ids) > 1 else None
        score.intervals[voice] = bounds(pairs)
    return score


FLUENCY = Metric(
    "fluency",
    "",
    "perplexity of the model's own answers under the model before unlearning: noise is far above the never-taught model's",
    "near the never-taught model's",
    compute,
)
