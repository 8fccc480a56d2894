"""What a run measured: the one reader of metrics.json, which core/metrics/evaluation.py writes.

A score is one number of a metric, for one voice (who answered) and one part of the data: "unlearn/val", or whatever the
metric divides by. Tolerant: what is damaged, foreign or of another version counts as missing, and a missing number says why.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.corpus import SCOPES, SPLITS
from core.runs.store import Run
from core.util.safe_read import mapping, number, stamp

FILE = "metrics.json"
NUMBERS = ("values", "examples", "intervals")
"""fields of a metric that are numbers; the others are words about them"""
UNMEASURED = "not measured in this run"


@dataclass(frozen=True)
class Value:
    """A number as it was measured."""

    value: float | None = None
    """in the metric's unit, percent where it has none of its own"""
    low: float | None = None
    """lower end of the 95 % interval, where one was measured"""
    high: float | None = None
    reason: str = ""
    """why there is no value"""
    n: int | None = None
    """how many examples it is of, where the run says so"""

    @property
    def half(self) -> float | None:
        """Half the interval's width: what stands after ±."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def around(self, digits: int) -> str:
        """Return ± half the interval, or its ends where it lies to one side of the value; empty without one."""
        if self.value is None or self.low is None or self.high is None:
            return ""
        half, aside = (self.high - self.low) / 2, abs(self.high + self.low - 2 * self.value)
        return f"±{half:.{digits}f}" if aside <= half else f"{self.low:.{digits}f} to {self.high:.{digits}f}"

    def complement(self) -> Value:
        """Return 100 − this: accuracy as Unlearn Success."""
        if self.value is None:
            return self
        low, high = (None if end is None else 100 - end for end in (self.high, self.low))
        return Value(100 - self.value, low, high, n=self.n)


@dataclass(frozen=True)
class Scores:
    """All scores of a run."""

    _metrics: Mapping[str, Any]
    """what metrics.json says of each metric: unit, values and intervals (voice -> part), examples, reasons, notes"""

    @classmethod
    def read(cls, run: Run) -> Scores:
        """Return a run's scores, without any metric where it has none; read once for each version of the file."""
        path = run.path / FILE
        return _read(str(path), stamp(path))

    @classmethod
    def read_once(cls, run: Run) -> Scores:
        """Return the same without keeping it: for who goes through thousands of runs."""
        return cls(mapping(run.json(FILE), "metrics"))

    @property
    def metrics(self) -> list[str]:
        """The metrics that were computed, with or without a value; none in a run that was not evaluated."""
        return list(self._metrics)

    def unit(self, metric: str) -> str:
        """Return what a metric's values are measured in."""
        return str(self._field(metric, "unit") or "")

    def voices(self, metric: str) -> list[str]:
        """Return the voices that a metric knows."""
        return list(mapping(self._field(metric, "values")))

    def parts(self, metric: str, voice: str | None = None) -> list[str]:
        """Return the parts that a metric was computed for, whether or not with a value; of one voice or of all."""
        values = mapping(self._field(metric, "values"))
        voices = values if voice is None else (voice,)
        return list(dict.fromkeys(part for name in voices for part in mapping(values.get(name))))

    def value(self, metric: str, voice: str, part: str) -> Value:
        """Return one score with its interval, or the reason why it is missing."""
        value = number(mapping(self._field(metric, "values"), voice).get(part))
        if value is None:
            return Value(reason=self.reason(metric, voice))
        count = number(mapping(self._field(metric, "counts"), voice).get(part))
        n = None if count is None else int(count)
        ends = mapping(self._field(metric, "intervals"), voice).get(part)
        if isinstance(ends, list) and len(ends) == 2:
            low, high = map(number, ends)
            if low is not None and high is not None and low <= high:
                return Value(value, low, high, n=n)
        return Value(value, n=n)

    def values(self, metric: str, voice: str) -> dict[str, float]:
        """Return part -> value of a metric, without those that are missing."""
        parts = mapping(self._field(metric, "values"), voice)
        return {part: score for part, value in parts.items() if (score := number(value)) is not None}

    def examples(self, metric: str) -> dict[str, dict[str, float]]:
        """Return voice -> example -> value."""
        voices = {voice: mapping(values) for voice, values in mapping(self._field(metric, "examples")).items()}
        return {
            voice: {example: score for example, value in values.items() if (score := number(value)) is not None}
            for voice, values in voices.items()
        }

    def reasons(self, metric: str) -> dict[str, str]:
        """Return voice (or "all") -> why the metric has no value for it."""
        return {voice: str(why) for voice, why in mapping(self._field(metric, "reasons")).items()}

    def reason(self, metric: str, voice: str) -> str:
        """Return why a metric has no value for a voice."""
        reasons = self.reasons(metric)
        return reasons.get(voice) or reasons.get("all") or UNMEASURED

    def notes(self, metric: str) -> list[str]:
        """Return what a reader of a metric's values must know."""
        notes = self._field(metric, "notes")
        return list(map(str, notes)) if isinstance(notes, list) else []

    def success(self, voice: str, scope: str, split: str) -> Value:
        """Return Unlearn Success (100 − accuracy) or Retention Success (accuracy), percent."""
        accuracy = self.value("accuracy", voice, f"{scope}/{split}")
        return accuracy.complement() if scope == "unlearn" else accuracy

    def average(self, voice: str, split: str) -> Value:
        """Return the mean of both successes; their errors are independent, since the scopes share no example."""
        unlearn, retention = (self.success(voice, scope, split) for scope in SCOPES)
        if unlearn.value is None or retention.value is None:
            return unlearn if unlearn.value is None else retention
        mean = (unlearn.value + retention.value) / 2
        if unlearn.half is None or retention.half is None:
            return Value(mean)
        half = math.hypot(unlearn.half, retention.half) / 2
        return Value(mean, mean - half, mean + half)

    def splits(self) -> list[str]:
        """Return the splits on which accuracy was measured after unlearning."""
        parts = self.parts("accuracy", "after")
        return [split for split in SPLITS if any(f"{scope}/{split}" in parts for scope in SCOPES)]

    def recorded(self, metric: str) -> dict[str, Any]:
        """Return what a metric has of values, examples and intervals just as the file holds it, to be compared.

        Raises TypeError where the file holds no such thing.
        """
        return {field: self._metrics[metric][field] for field in NUMBERS if field in self._metrics[metric]}

    def _field(self, metric: str, field: str) -> Any:
        return mapping(self._metrics.get(metric)).get(field)


@functools.lru_cache(maxsize=24)  # some 3 MB each
def _read(path: str, version: tuple[int, int]) -> Scores:
    return Scores.read_once(Run(Path(path).parent))
