"""Is a region better than random ones, no better, or is that undecided? One advantage a teaching, put together.

A run and its random regions share one taught model. Another teaching, with another seed, moves the advantage by more than
another draw does, so one teaching decides nothing. No torch.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from core.metrics.intervals import t975, t_interval
from core.metrics.paired import Mean

MARGIN = 8.0
"""points; an advantage that is surely smaller counts as none"""
FEWEST, MOST = 3, 100
"""teachings that are needed to decide anything; more than the latter are nobody's plan"""


def permutation(advantages: Sequence[float]) -> float:
    """Return the share of regions that do at least as well as the given one, itself among them: p of a permutation test.

    advantages: of the given region over each random one. With 19 of them p is at least .05.
    """
    return (1 + sum(value <= 0 for value in advantages)) / (1 + len(advantages))


def together(advantages: Sequence[float]) -> Mean | None:
    """Return the mean advantage over teachings with Student's 95 % interval; None for fewer than two."""
    if len(advantages) < 2:
        return None
    mean, half = t_interval(advantages)
    return Mean(mean, mean - (half or 0.0), mean + (half or 0.0))


def decided(mean: float, half: float) -> str:
    """Return better, none, or an empty text where an interval leaves both open."""
    if mean - half > 0:
        return "better"
    return "none" if mean + half < MARGIN else ""


def needed(advantages: Sequence[float]) -> int | None:
    """Return how many more teachings would decide if they varied as these do; None where more than MOST would be needed."""
    if len(advantages) < 2:
        return FEWEST - len(advantages)
    mean, spread = statistics.fmean(advantages), statistics.stdev(advantages)
    for count in range(max(FEWEST, len(advantages)), MOST + 1):
        if decided(mean, t975(count - 1) * spread / math.sqrt(count)):
            return count - len(advantages)
    return None


def verdict(advantages: Sequence[float]) -> str:
    """Say in one or two sentences what the teachings decide. advantages: points over the mean random region, one each."""
    overall, count = together(advantages), len(advantages)
    points = f"{statistics.fmean(advantages):.1f} points".replace("-", "−")
    if overall and count >= FEWEST:
        ends = f"{overall.low:.1f} to {overall.high:.1f}".replace("-", "−")
        how = decided(overall.value, overall.half)
        if how == "better":
            return f"Over {count} teachings it is better by {points} ({ends})."
        if how == "none":
            return f"Over {count} teachings it is no better within {MARGIN:.0f} points: {points} ({ends})."
        points = f"{points} ({ends})"
    more = needed(advantages)
    head = f"Undecided: {points} over {count} teaching{'s' * (count > 1)}"
    if more is None:
        return f"{head}; even {MOST} teachings would not decide."
    least = "at least " * (count < 2)
    return f"{head}; {least}{more} more teaching{'s' * (more > 1)} would decide."
