"""How far a score could have come out otherwise with other questions of the same kind: 95 % bootstrap intervals.

A score is computed again on DRAWS random samples of its own examples, drawn with replacement (Efron and Tibshirani,
"An Introduction to the Bootstrap", 1993, chapter 13: the percentile interval). A sample is a row of weights, so a mean
over all samples is one matrix product, and equal weights for equal counts make the samples of several voices the same:
differences between voices are then paired.

What an interval does not say: it knows nothing of seeds, and takes questions as independent although several are about one
subject, so it is rather too narrow. Where all examples agree (0 % or 100 %) it is a point; with n examples the true rate
may still be 3/n away.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
LOW, HIGH = 2.5, 97.5
"""percentiles"""
SAFE = 10.0
"""percentage points that the 95 % interval may reach above its reference where a share is called low (0 of 36 or more)"""
ENOUGH = 0.95
"""A score that has no value in more than a twentieth of the samples gets no interval."""

Array = NDArray[np.float64]


@functools.lru_cache(maxsize=16)
def weights(count: int, stream: int = 0) -> Array:
    """Return (DRAWS, count): each row the share of each example in one sample, summing to 1; the same at every call.

    Two groups that are sampled apart from each other take different streams.
    """
    source = np.random.default_rng([count, stream])
    shares: Array = source.multinomial(count, np.full(count, 1 / count), size=DRAWS) / count
    # One array serves all callers, from the cache.
    shares.flags.writeable = False
    return shares


def interval(draws: Array) -> list[float] | None:
    """Return [low, high] of (DRAWS,) scores; None where too many of them are NaN."""
    finite = draws[~np.isnan(draws)]
    if len(finite) < ENOUGH * len(draws):
        return None
    low, high = np.percentile(finite, [LOW, HIGH])
    return [float(low), float(high)]


def of_mean(values: Sequence[float] | Array) -> list[float] | None:
    """Return the interval of a mean over examples; None for a single one."""
    array = np.asarray(values, dtype=np.float64)
    return interval(weights(len(array)) @ array) if len(array) > 1 else None


def rate(values: Sequence[float]) -> dict[str, float]:
    """Return the mean of per-question values from 0 to 1 in percent, with its 95 % interval.

    The interval is the bootstrap's over questions (core/metrics/intervals.py). Where all questions agree on 0 or 1 that
    would be a point, which is more than n questions can say: the exact binomial bound (Clopper and Pearson, 1934) stands
    there then.
    """
    value = 100.0 * sum(values) / len(values)
    if set(values) <= {0.0} or set(values) <= {1.0}:
        reach = 100.0 * (1.0 - (LOW / 100) ** (1 / len(values)))
        return {"value": value, "low": max(0.0, value - reach), "high": min(100.0, value + reach)}
    low, high = of_mean(values) or [0.0, 1.0]
    return {"value": value, "low": 100.0 * low, "high": 100.0 * high}


def is_low(high: float | None, reference: float = 0.0) -> bool:
    """Say whether a share is low for certain: the upper end of its 95 % interval, percent, is near a reference or below it.

    Where it is not, a count of none or few says little: so few were asked that many more may be true. Whatever is called
    safe is called so by this rule. reference: percent that a model has which knows nothing.
    """
    return high is not None and high - reference <= SAFE


def too_few(n: object, high: float | None) -> str:
    """Say that n questions are too few to tell, and up to where the share may lie."""
    reach = "" if high is None else f": the rate may be as high as {high:.0f} % (95 % interval)"
    return f"{n if isinstance(n, int) else 'These'} questions are too few to tell{reach}."


def t_interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean of independent values and the half-width of its 95 % interval (Student's t); None for one value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None
    return mean, t975(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def t975(free: float) -> float:
    """Return the 97.5 % quantile of Student's t; free: degrees of freedom, fractions and infinity included."""
    from scipy.special import stdtrit  # of scipy.stats, which is three times as large, nothing else is needed here

    return float(stdtrit(free, 0.975))


def auc(positive: Array, negative: Array) -> float:
    """Return the probability that a positive score is above a negative one, a tie counting half."""
    return float(_right(positive, negative).mean())


def auc_interval(positive: Array, negative: Array) -> tuple[float, float, float]:
    """Return the AUC with the ends of its 95 % interval, both groups sampled anew."""
    right = _right(positive, negative)
    draws = ((weights(len(positive)) @ right) * weights(len(negative), 1)).sum(axis=1)
    low, high = interval(draws) or (np.nan, np.nan)
    return float(right.mean()), low, high


def _right(positive: Array, negative: Array) -> Array:
    """Return (positive, negative): 1 where a pair stands in the right order, ½ for a tie."""
    return (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
