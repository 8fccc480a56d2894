"""What a metric may look at, and what it returns. No torch here: metrics work on recorded data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.data import Example

if TYPE_CHECKING:
    import pandas as pd

VOICES = ("before", "after", "never")
"""the taught model, the same after unlearning, and the base that was never taught (adapter off)"""


@dataclass(frozen=True)
class Evidence:
    """Everything recorded about a run's answers."""

    examples: Sequence[Example]
    tokens: pd.DataFrame
    """a row an answer token: example, position, token, text, logprob_VOICE, rank_VOICE"""
    answers: Mapping[str, Mapping[str, str]]
    """voice -> example id -> generated answer"""
    general: Mapping[str, Sequence[float]]
    """voice -> mean log-probability per token of each line of the general text"""
    lexicon: frozenset[str]
    """lower-case words that count as words"""
    missing: Mapping[str, str] = field(default_factory=dict)
    """voice -> why it is not available"""

    def voices(self) -> list[str]:
        """Return the voices that were recorded."""
        return [voice for voice in VOICES if f"rank_{voice}" in self.tokens.columns]

    def ids(self, scope: str, split: str) -> list[str]:
        """Return the examples of a scope and split."""
        return [e.id for e in self.examples if (e.scope, e.split) == (scope, split)]


@dataclass(frozen=True)
class Score:
    """A metric's result: percent, unless the metric's `unit` says otherwise."""

    values: dict[str, dict[str, float]]
    """voice -> "scope/split" (or another part) -> aggregate"""
    examples: dict[str, dict[str, float]] = field(default_factory=dict)
    """voice -> example id -> value"""
    reasons: dict[str, str] = field(default_factory=dict)
    """voice (or "all") -> why there is no value"""


@dataclass(frozen=True)
class Metric:
    """A metric's name, unit, one-line explanation and function."""

    name: str
    unit: str
    help: str
    better: str
    """which direction is wanted, in words"""
    compute: Callable[[Evidence], Score]


PARTS = [(scope, split) for scope in ("unlearn", "retention") for split in ("train", "dev", "val")]


def averaged(evidence: Evidence, values: Mapping[str, Mapping[str, float]]) -> Score:
    """Average per-example values over each scope and split that has examples; unavailable voices carry the reason."""
    result: dict[str, dict[str, float]] = {}
    for voice, of in values.items():
        result[voice] = {}
        for scope, split in PARTS:
            known = [of[i] for i in evidence.ids(scope, split) if i in of]
            if known:
                result[voice][f"{scope}/{split}"] = sum(known) / len(known)
    return Score(result, {voice: dict(of) for voice, of in values.items()}, dict(evidence.missing))
