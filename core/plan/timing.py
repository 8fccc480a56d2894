"""Seconds of a few real steps, and what the whole of such work would take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from core.config.stages import UnlearnConfig
from core.models.tokens import padded
from core.pipeline.supply import Supply, streams
from core.util.progress import Reporter

SLACK = 0.1
"""Least half-width of a range: two steps that happen to take equally long do not make a prophet."""
TIMED = 3
"""unlearning steps that are timed, between a first one that warms up and a last one that is followed by a measurement"""
SAMPLED = 64
"""batches over which the mean size of a step is taken"""


@dataclass(frozen=True)
class Cost:
    """What a stage will take."""

    name: str
    low: float
    """seconds, at least"""
    high: float
    """seconds, at most"""
    how: str
    """what was measured and how often it will be done, in words"""
    reused: bool = False
    """whether an earlier run has computed it, so that it costs nothing"""


class Stopwatch(Reporter):
    """Passes on whether to stop, and notes when each step was done."""

    def __init__(self, report: Reporter) -> None:
        """Start the clock."""
        self.report, self.times, self.tokens = report, [time.perf_counter()], list[int]()

    def progress(self, done: float, total: float, unit: str, **values: Any) -> None:
        """Note the time, and the tokens of the step where they are told."""
        self.check()
        self.times.append(time.perf_counter())
        self.tokens.append(int(values.get("tokens", 0)))

    def check(self) -> None:
        """Raise Cancelled if the user asked to stop."""
        self.report.check()

    @property
    def seconds(self) -> list[float]:
        """Seconds of each step, in order."""
        return [end - start for start, end in zip(self.times, self.times[1:], strict=False)]


@dataclass(frozen=True)
class Rate:
    """Seconds per token of the same kind of work, once for each step that was timed."""

    each: Sequence[float]

    def bounds(self, tokens: float) -> tuple[float, float]:
        """Return (low, high) seconds for so many tokens: fastest and slowest step, at least SLACK around the mean."""
        low, high = around(fmean(self.each))
        return tokens * min(*self.each, low), tokens * max(*self.each, high)


def rate(seconds: Sequence[float], tokens: Sequence[int]) -> Rate:
    """Return the rate of steps that took so long for so many tokens."""
    return Rate([second / count for second, count in zip(seconds, tokens, strict=True)])


def around(seconds: float) -> tuple[float, float]:
    """Return (low, high) for what was measured once."""
    return seconds * (1 - SLACK), seconds * (1 + SLACK)


def line(points: dict[int, float]) -> tuple[float, float]:
    """Return (at 0, per row) of the line through one or two measured points, neither of them negative."""
    (few, first), (many, last) = min(points.items()), max(points.items())
    each = max(0.0, (last - first) / (many - few)) if many > few else 0.0
    return max(0.0, first - each * few), each


def mean_tokens(supply: Supply, config: UnlearnConfig, seed: int) -> float:
    """Return the tokens of a mean unlearning step, padding included."""
    batches = streams(supply, config, torch.Generator().manual_seed(seed))
    return fmean(padded([[m for part in next(batches).values() for m in part]]) for _ in range(SAMPLED))
