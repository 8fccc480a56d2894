"""Perplexity of the true answers: exp of the mean negative log-probability per token, over all tokens of a part."""

from __future__ import annotations

import numpy as np

from core.data.corpus import SCOPES
from core.metrics import intervals
from core.metrics.base import Evidence, Metric, Score, bounds, parts


def compute(evidence: Evidence) -> Score:
    """Return perplexity per voice, scope and split; per example over its own tokens."""
    score, scoped = Score({}, reasons=dict(evidence.missing)), {e.id for e in evidence.examples if e.scope in SCOPES}
    tokens = evidence.tokens[evidence.tokens["example"].isin(scoped)]
    for voice in evidence.voices():
        each = tokens[f"logprob_{voice}"].groupby(tokens["example"], sort=False).agg(["sum", "count"])
        score.examples[voice] = {str(i): float(np.exp(-s / n)) for i, s, n in each.itertuples()}
        score.values[voice], pairs = {}, {}
        for part, ids in parts(evidence, score.examples[voice]):
            sums, counts = each.loc[ids].to_numpy(dtype=np.float64).T
            score.values[voice][part] = float(np.exp(-sums.sum() / counts.sum()))
            draws = intervals.weights(len(ids))
            pairs[part] = intervals.interval(np.exp(-(draws @ sums) / (draws @ counts))) if len(ids) > 1 else None
        score.intervals[voice] = bounds(pairs)
    return score


PERPLEXITY = Metric(
    "perplexity", "", "how surprised the model is by the true answers, per token", "high on U, low on R", compute
)
