"""What a run's models say when asked, read from its scores (core/metrics/asked.py): counts, and the sentence that leads.

One place for all that sums a run up: the shell, `--json` and the pages say the same numbers of the same questions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.data.corpus import KINDS, SCOPES
from core.runs.scores import Scores, Value

METRIC = "asked"
OUTCOMES = {"unlearn": ("leaked", "noise", "declined", "ignorant"), "retention": ("kept", "lost", "noise", "declined")}
"""scope -> what an answer to one of its questions can be"""
CONFABULATED = "confabulated"
"""share of the answers about U, whatever else they are, that state an invented name, number or e-mail"""
STILL_SAID = {"unlearn": "leaked", "retention": "kept"}
"""scope -> the outcome in which the fact is said"""


@dataclass(frozen=True)
class Outcomes:
    """What became of the questions of one scope and kind."""

    n: int
    """questions asked"""
    shares: Mapping[str, Value]
    """outcome -> percent of n, with its interval"""

    def count(self, outcome: str) -> int:
        """Return how many answers came out so."""
        return round((self.shares[outcome].value or 0.0) * self.n / 100)

    def in_words(self, outcome: str) -> str:
        """Write "7 of 20"."""
        return f"{self.count(outcome)} of {self.n}"


def outcomes(scores: Scores, voice: str, scope: str, kind: str) -> Outcomes | None:
    """Return what a voice said, None where it was not asked such questions."""
    shares = {outcome: scores.value(METRIC, voice, f"{scope}/{kind}/{outcome}") for outcome in OUTCOMES[scope]}
    counts = [share.n for share in shares.values() if share.value is not None]
    n = counts[0] if len(counts) == len(shares) else None
    return Outcomes(n, shares) if n else None


TELLING = ("free", "untaught", "val", "other", "dev", "train")
"""kinds of question, the one that says most of what unlearning did first"""


def kinds(scores: Scores, voice: str = "after") -> list[str]:
    """Return the kinds of question that both scopes were asked, in the order of KINDS."""
    return [kind for kind in KINDS if all(outcomes(scores, voice, scope, kind) for scope in SCOPES)]


def kind_asked(scores: Scores, voice: str = "after") -> str:
    """Return the kind that says the most of those that both scopes were asked; else an empty text."""
    both = kinds(scores, voice)
    return next((kind for kind in TELLING if kind in both), "")


def counts(scores: Scores, voice: str = "after") -> dict[str, str]:
    """Return scope -> "7 of 20": how many of its questions are answered with their fact; empty where none was asked."""
    kind = kind_asked(scores, voice)
    both = {scope: outcomes(scores, voice, scope, kind) for scope in SCOPES} if kind else {}
    return {scope: said.in_words(STILL_SAID[scope]) for scope, said in both.items() if said}


def sentence(scores: Scores, kind: str = "", voice: str = "after") -> str:
    """Say what a voice says of both scopes, in counts; empty where it was not asked.

    kind: empty for the one that says the most.
    """
    kind = kind or kind_asked(scores, voice)
    forget, keep = (outcomes(scores, voice, scope, kind) for scope in SCOPES)
    if forget is None or keep is None:
        return ""
    return (
        f"Asked, it still says {forget.in_words('leaked')} of what it must forget "
        f"({forget.count('noise')} noise, {forget.count('declined')} declined, {forget.count('ignorant')} other answers), "
        f"and {keep.in_words('kept')} of what it must keep."
    )


def contradiction(scores: Scores, split: str, voice: str = "after") -> str:
    """Say where next-word accuracy and the answers disagree about what was kept by more than both intervals; else empty."""
    keep, accuracy = outcomes(scores, voice, "retention", split), scores.success(voice, "retention", split)
    if keep is None or accuracy.value is None or accuracy.low is None or accuracy.high is None:
        return ""
    kept = keep.shares["kept"]
    if kept.low is None or kept.high is None or (kept.low <= accuracy.high and accuracy.low <= kept.high):
        return ""
    return (
        f"Next-word accuracy says that {accuracy.value:.1f} % is kept: it is measured with the right beginning given. "
        f"The answers say {keep.in_words('kept')}."
    )
