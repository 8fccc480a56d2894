"""What a run measured, as numbers with intervals or reasons; tolerant of files that are damaged or foreign. No Streamlit."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.runs.store import Run
from core.util.safe_read import mapping, number
from dashboard.charts.base import SCOPE_NAMES

VOICES = {"before": "Before", "after": "After", "never": "Never taught", "retrained": "Taught without U"}
ALWAYS = ("before", "after", "never")
"""voices that are shown even where they are missing: a score without its references says little"""
SPLITS = {"val": "New questions (val)", "train": "Train", "dev": "Dev"}
IN_WORDS = {"val": "new questions (val)", "train": "the train questions", "dev": "the held-out questions (dev)"}


@dataclass(frozen=True)
class Value:
    """A number as it was measured."""

    value: float | None = None
    low: float | None = None
    """end of the interval, where one was measured"""
    high: float | None = None
    reason: str = ""
    """why there is no value"""

    @property
    def half(self) -> float | None:
        """Half the interval's width: what stands after ±."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def turned(self) -> Value:
        """Return 100 − this: accuracy as Unlearn Success."""
        if self.value is None:
            return self
        ends = (None, None) if self.low is None or self.high is None else (100 - self.high, 100 - self.low)
        return Value(100 - self.value, *ends)


class Scores:
    """A run's metrics.json."""

    def __init__(self, metrics: Mapping[str, Any]) -> None:
        """Take the object under "metrics"."""
        self.metrics = {str(name): mapping(found) for name, found in metrics.items()}

    def value(self, metric: str, voice: str, part: str) -> Value:
        """Return one aggregate, or the reason why it is missing."""
        found = mapping(self.metrics.get(metric))
        value = number(mapping(mapping(found.get("values")).get(voice)).get(part))
        if value is None:
            return Value(reason=self.reason(metric, voice))
        ends = mapping(mapping(found.get("intervals")).get(voice)).get(part)
        if isinstance(ends, list) and len(ends) == 2:
            low, high = (number(end) for end in ends)
            if low is not None and high is not None and low <= high:
                return Value(value, low, high)
        return Value(value)

    def reason(self, metric: str, voice: str) -> str:
        """Return why a metric has no value for a voice."""
        if metric not in self.metrics:
            return "not measured in this run"
        reasons = mapping(self.metrics[metric].get("reasons"))
        return str(reasons.get(voice) or reasons.get("all") or "not measured in this run")

    def success(self, voice: str, scope: str, split: str) -> Value:
        """Return Unlearn Success (100 − accuracy) or Retention Success (accuracy)."""
        found = self.value("accuracy", voice, f"{scope}/{split}")
        return found.turned() if scope == "unlearn" else found

    def average(self, voice: str, split: str) -> Value:
        """Return the mean of both successes; their errors are independent, since the scopes share no example."""
        both = [self.success(voice, scope, split) for scope in SCOPE_NAMES]
        if both[0].value is None or both[1].value is None:
            return Value(reason=next(v.reason for v in both if v.value is None))
        mean, halves = (both[0].value + both[1].value) / 2, [v.half for v in both]
        if halves[0] is None or halves[1] is None:
            return Value(mean)
        half = math.hypot(halves[0], halves[1]) / 2
        return Value(mean, mean - half, mean + half)

    def examples(self, metric: str) -> dict[str, dict[str, float]]:
        """Return voice -> example -> value."""
        found = mapping(self.metrics.get(metric)).get("examples")
        voices = {str(voice): mapping(of) for voice, of in mapping(found).items()}
        return {voice: {i: v for i, x in of.items() if (v := number(x)) is not None} for voice, of in voices.items()}

    def splits(self) -> list[str]:
        """Return the splits on which accuracy was measured."""
        parts = set(mapping(mapping(mapping(self.metrics.get("accuracy")).get("values")).get("after")))
        return [split for split in SPLITS if any(f"{scope}/{split}" in parts for scope in SCOPE_NAMES)]


def read(run: Run) -> Scores:
    """Return a run's scores, without any metric where it has none; read once for each version of the file."""
    path = run.path / "metrics.json"
    try:
        stamp = path.stat()
    except OSError:
        return Scores({})
    return _read(str(path), stamp.st_mtime_ns, stamp.st_size)


@functools.lru_cache(maxsize=256)
def _read(path: str, changed: int, size: int) -> Scores:
    try:
        with open(path, encoding="utf-8") as file:
            return Scores(mapping(mapping(json.load(file)).get("metrics")))
    except (OSError, ValueError, RecursionError):
        return Scores({})
