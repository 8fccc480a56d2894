"""What a metric may look at, and what it returns. No torch here: metrics work on recorded data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.data.corpus import SCOPES, SPLITS, Example
from core.metrics import intervals as bootstrap
from core.runs.voices import SPOKEN

if TYPE_CHECKING:
    import pandas as pd


NOT_RECORDED = "was not recorded in this run: it is older than this metric, or evaluate.extras was off"


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
    lexicon: frozenset[str] | None
    """lower-case words that count as words; those of the answers suffice. None where they were not recorded"""
    missing: Mapping[str, str] = field(default_factory=dict)
    """voice -> why it is not available"""
    kl: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """voice -> KL(before || voice) of each line of the general text: nats, mean over positions"""
    choices: Mapping[str, Sequence[Sequence[float] | None]] = field(default_factory=dict)
    """voice -> per question the options' log-probabilities per character, the right one first"""
    wrong: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    """voice -> example -> mean log-probability per token of each wrong answer of the same form"""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """scope/split -> examples for which no wrong answer could be made"""
    unseen: pd.DataFrame | None = None
    """as tokens, of questions that were never taught"""
    unseen_answers: Mapping[str, str] = field(default_factory=dict)
    """id in `unseen` -> answer"""
    unended: frozenset[str] = frozenset()
    """examples, those in `unseen` as well, whose last token is a word of the answer and not the end token"""

    def voices(self) -> list[str]:
        """Return the voices that were recorded."""
        return [voice for voice in SPOKEN if f"rank_{voice}" in self.tokens.columns]

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
    intervals: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """voice -> part -> [low, high] of its value, 95 % bootstrap over examples; absent for a single example"""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """voice -> part -> how many examples its value is of, where they are counted"""
    notes: list[str] = field(default_factory=list)
    """what a reader of the values must know, such as how many examples were left out"""


@dataclass(frozen=True)
class Metric:
    """A metric's name, unit, one-line explanation and function."""

    name: str
    unit: str
    help: str
    better: str
    """which direction is wanted, in words"""
    compute: Callable[[Evidence], Score]
    called: str = ""
    """what a reader is told instead of its name, where that is no plain word"""

    @property
    def title(self) -> str:
        """What a reader is told."""
        return self.called or self.name.replace("_", " ")


PARTS = [(scope, split) for scope in SCOPES for split in SPLITS]


def parts(evidence: Evidence, measured: Container[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield ("scope/split", its examples that were measured) for each part that has any."""
    for scope, split in PARTS:
        ids = [i for i in evidence.ids(scope, split) if i in measured]
        if ids:
            yield f"{scope}/{split}", ids


def without_end(tokens: pd.DataFrame, unended: Collection[str]) -> pd.DataFrame:
    """Return the answers' own tokens: all but the end token, the last of each example but those that are `unended`.

    That an answer ends says nothing of what is known, and no published definition counts it where a text is scored or
    recited (OpenUnlearning, src/evals/metrics/utils.py lines 129 and 173: "ignore eos prediction").
    """
    last = tokens.groupby("example")["position"].transform("max")
    return tokens[(tokens["position"] < last) | tokens["example"].isin(unended)]


def averaged(evidence: Evidence, values: Mapping[str, Mapping[str, float]]) -> Score:
    """Average per-example values over each scope and split that has examples; unavailable voices carry the reason.

    Values of what belongs to neither scope are left out.
    """
    ours = {e.id for e in evidence.examples if e.scope in SCOPES}
    kept = {voice: {i: value for i, value in by_example.items() if i in ours} for voice, by_example in values.items()}
    score = Score({}, kept, dict(evidence.missing))
    for voice, by_example in kept.items():
        groups = {part: [by_example[i] for i in ids] for part, ids in parts(evidence, by_example)}
        score.counts[voice] = {part: len(group) for part, group in groups.items()}
        score.values[voice] = {part: sum(group) / len(group) for part, group in groups.items()}
        score.intervals[voice] = bounds({part: bootstrap.of_mean(group) for part, group in groups.items()})
    return score


def bounds(pairs: Mapping[str, list[float] | None]) -> dict[str, list[float]]:
    """Keep the parts that have an interval."""
    return {part: pair for part, pair in pairs.items() if pair is not None}
