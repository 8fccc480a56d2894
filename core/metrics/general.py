"""Perplexity of a small general text of our own (assets/data/general.txt): did unlearning hurt the language itself?"""

from __future__ import annotations

import math

from core.metrics import intervals
from core.metrics.base import NOT_RECORDED, Evidence, Metric, Score, bounds


def compute(evidence: Evidence) -> Score:
    """Return the perplexity per voice: exp of minus the mean over lines of the mean log-probability per token."""
    score = Score({}, reasons=dict(evidence.missing))
    for voice, lines in evidence.general.items():
        pair = intervals.of_mean(lines)
        score.values[voice] = {"text": math.exp(-sum(lines) / len(lines))}
        score.intervals[voice] = bounds({"text": [math.exp(-pair[1]), math.exp(-pair[0])] if pair else None})
    return score if score.values else Score({}, reasons={"all": f"the general text {NOT_RECORDED}"})


GENERAL = Metric("general", "", "perplexity of everyday sentences that belong to neither scope", "as low as before", compute)
