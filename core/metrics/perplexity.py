"""Perplexity of the true answers: exp of the mean negative log-probability per token, over all tokens of a part."""

from __future__ import annotations

import numpy as np

from core.metrics.base import PARTS, Evidence, Metric, Score


def compute(evidence: Evidence) -> Score:
    """Return perplexity per voice, scope and split; per example over its own tokens."""
    tokens, values, examples = evidence.tokens, {}, {}
    for voice in evidence.voices():
        column = tokens[f"logprob_{voice}"]
        per_example = column.groupby(tokens["example"], sort=False).mean()
        examples[voice] = {str(i): float(value) for i, value in np.exp(-per_example).items()}
        values[voice] = {
            f"{scope}/{split}": float(np.exp(-column[tokens["example"].isin(ids)].mean()))
            for scope, split in PARTS
            if (ids := evidence.ids(scope, split))
        }
    return Score(values, examples, dict(evidence.missing))


PERPLEXITY = Metric(
    "perplexity", "", "how surprised the model is by the true answers, per token", "high on U, low on R", compute
)
