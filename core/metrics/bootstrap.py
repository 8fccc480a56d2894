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
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
LOW, HIGH = 2.5, 97.5
"""percentiles"""
ENOUGH = 0.95
"""A score that has no value in more than a twentieth of the samples gets no interval."""

Array = NDArray[np.float64]


@functools.lru_cache(maxsize=16)
def weights(count: int, stream: int = 0) -> Array:
    """Return (DRAWS, count): each row the share of each example in one sample, summing to 1; the same at every call.

    Two groups that are sampled apart from each other take different streams.
    """
    source = np.random.default_rng([count, stream])
    found: Array = source.multinomial(count, np.full(count, 1 / count), size=DRAWS) / count
    found.flags.writeable = False
    return found


def interval(draws: Array) -> list[float] | None:
    """Return [low, high] of (DRAWS,) scores; None where too many of them are NaN."""
    known = draws[~np.isnan(draws)]
    if len(known) < ENOUGH * len(draws):
        return None
    low, high = np.percentile(known, [LOW, HIGH])
    return [float(low), float(high)]


def of_mean(values: Sequence[float] | Array) -> list[float] | None:
    """Return the interval of a mean over examples; None for a single one."""
    array = np.asarray(values, dtype=np.float64)
    return interval(weights(len(array)) @ array) if len(array) > 1 else None
