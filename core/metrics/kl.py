"""KL divergence to "before" on the general text: did the update move what it was not meant to move?

KL(before || voice) over the whole vocabulary, in nats, mean over the positions of a line, then over every second
line of assets/data/general.txt. Of before itself it is 0. The never-taught model shows how far teaching alone moved it.
"""

from __future__ import annotations

from core.metrics import intervals
from core.metrics.base import NOT_RECORDED, Evidence, Metric, Score, bounds


def compute(evidence: Evidence) -> Score:
    """Return the mean divergence per voice."""
    if not evidence.kl:
        return Score({}, reasons={"all": f"the divergence on general text {NOT_RECORDED}"})
    score = Score({}, reasons=dict(evidence.missing))
    for voice, lines in evidence.kl.items():
        score.values[voice] = {"text": sum(lines) / len(lines)}
        score.intervals[voice] = bounds({"text": intervals.of_mean(lines)})
    return score


KL = Metric("kl", "nats", "divergence of the next-token distribution from before's, on everyday sentences", "low", compute)
