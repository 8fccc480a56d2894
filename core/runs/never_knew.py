"""Never-knew per example as a run's scores have it (core/metrics/never_knew_example.py): by kind of question, with the gap.

One place for all that shows it: the shell, `--json` and the pages. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.runs.scores import Scores, Value

METRIC = "never_knew_example"
TOKENS = ("all", "facts")
"""which tokens of an answer: all of them, or those that carry its facts"""


@dataclass(frozen=True)
class Knew:
    """The score of one kind of question."""

    score: Value
    """percent"""
    gap: Value
    """points of probability by which after is above the reference"""


def part(kind: str, tokens: str, reference: str = "") -> str:
    """Return the part of the metric's score. reference: empty for the first that was recorded."""
    return "/".join(word for word in (kind, "" if tokens == "all" else tokens, reference) if word)


def knew(scores: Scores, kind: str, tokens: str = "all") -> Knew:
    """Return score and gap of one kind of question, or why they are missing."""
    name = part(kind, tokens)
    return Knew(scores.value(METRIC, "after", name), scores.value(METRIC, "after", f"{name}/gap"))


def by_kind(scores: Scores, tokens: str) -> dict[str, Knew]:
    """Return kind of question -> score and gap, of those that were measured."""
    kinds = [name.partition("/")[0] for name in scores.parts(METRIC, "after")]
    found = {kind: knew(scores, kind, tokens) for kind in dict.fromkeys(kinds)}
    return {kind: knew for kind, knew in found.items() if knew.score.value is not None}


def in_words(scores: Scores) -> str:
    """Write the score of every kind of question in one line, or why there is none."""
    facts = by_kind(scores, "facts")
    parts = [
        f"{kind} {knew.score.value:.1f} (gap {knew.gap.value:+.1f} points"
        + (f"; fact tokens {facts[kind].score.value:.1f}, gap {facts[kind].gap.value:+.1f})" if kind in facts else ")")
        for kind, knew in by_kind(scores, "all").items()
    ]
    return f"Never-knew per example: {', '.join(parts) or scores.reason(METRIC, 'after')}"
