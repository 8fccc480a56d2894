"""Did a region do better than random ones? A finished run held against the same method on random regions, in words.

What is said when asked leads; the paper's numbers stand beside. Reads runs' files only; no torch.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from core.metrics import equivalence, paired
from core.metrics.paired import Mean, Successes
from core.regions import Located
from core.regions.words import words
from core.runs import asked, scores
from core.runs.asked import NEXT_WORD
from core.runs.scores import Scores
from core.runs.store import Run
from core.util.errors import UserError
from core.util.safe_read import stamp

SPLIT = "val"
"""what next-word accuracy is compared on"""
FILES = ("tokens.parquet", "answers.jsonl", scores.FILE)
"""what is compared of a run"""
Key = tuple[str, tuple[tuple[int, int], ...]]
"""a run's folder and the versions of these files"""


@dataclass(frozen=True)
class Said:
    """What a run and random regions say when asked."""

    words: str
    """how many facts of both scopes, a sentence or two"""
    difference: Mean
    """points that the run has more, of U that is not said and R that is"""


@dataclass(frozen=True)
class OverDraws:
    """A run against the mean of all random regions like its own."""

    mean: Mean
    """points that it has more"""
    p: float
    """of the permutation test"""

    @property
    def words(self) -> str:
        """Say it in a sentence."""
        points, ends = in_points(self.mean, "more", "fewer")
        return f"Over the mean of all such regions it has {points} ({ends}; p = {self.p:.2f})."


def key(run: Run) -> Key:
    """Return what a comparison of a run depends on."""
    return str(run.path), tuple(stamp(run.path / name) for name in FILES)


def called(run: Run) -> str:
    """Return what the region of a run is called within a sentence."""
    rule = run.config().region
    return "the located region" if type(rule) is Located else f"the region ({words(rule)})"


def signed(value: float) -> str:
    """Write points to a tenth, with a minus sign that is one."""
    return f"{value:.1f}".replace("-", "−")


def in_points(mean: Mean, above: str, below: str) -> tuple[str, str]:
    """Return "4.2 points better", in the word for a difference above nothing or below, and its interval seen from there."""
    value, ends, how = mean.value, (mean.low, mean.high), above
    if value < 0:
        value, ends, how = -value, (-mean.high, -mean.low), below
    return f"{value:.1f} points {how}", f"{signed(ends[0])} to {signed(ends[1])}"


@functools.lru_cache(maxsize=256)
def over_draws(given: Key, others: tuple[Key, ...], kind: str = "") -> OverDraws | None:
    """Return by how much a run exceeds the mean random region: by what is said where that was counted, else next words.

    kind: of question, of what is said and of nothing else; without it that which says the most.
    """
    try:
        known = _said_by(given, others, kind) or ([] if kind else list(filter(None, map(_next_word_of, (given, *others)))))
    except UserError:
        return None
    if len(known) <= len(others):
        return None
    mine, *theirs = known
    each = paired.advantages(mine, theirs)
    return OverDraws(paired.difference(mine, theirs, one_more=False), equivalence.permutation(each))


@functools.lru_cache(maxsize=256)
def next_word(given: Key, others: tuple[Key, ...]) -> Mean:
    """Return by how much a run exceeds random regions, and one more of them, in next-word success on val.

    Raises UserError for data without val, and for a damaged run.
    """
    mine, *theirs = [one for one in map(_next_word_of, (given, *others)) if one is not None]
    if len(theirs) < len(others):
        raise UserError("A run of these controls has no token scores.", "It is damaged: start it again.")
    return paired.difference(mine, theirs)


@functools.lru_cache(maxsize=256)
def said(given: Key, others: tuple[Key, ...], kind: str = "") -> Said | None:
    """Return what a run and random regions say when asked; None where that was not counted of all of them.

    kind: of question; without it that which says the most.
    """
    successes = _said_by(given, others, kind)
    if successes is None:
        return None
    run, *draws = (Run(Path(key[0])) for key in (given, *others))
    say = "One random region of as many tensors says"
    if len(draws) > 1:
        say = f"{len(draws)} random regions of as many tensors say, on average,"
    told = asked.beside(Scores.read(run), [Scores.read(draw) for draw in draws], called(run), say, kind)
    return Said(told, paired.difference(successes[0], successes[1:]))


def _said_by(given: Key, others: tuple[Key, ...], kind: str) -> list[Successes] | None:
    runs = [Run(Path(key[0])) for key in (given, *others)]
    measured = [Scores.read(run) for run in runs]
    if not asked.beside(measured[0], measured[1:], "", "", kind):
        return None
    return [paired.said(run, kind or asked.kind_asked(measured[0])) for run in runs]


def _next_word_of(key: Key) -> Successes | None:
    """Return the next-word success of a run on val, None where it has no tokens. Raises UserError for data without val."""
    tokens = Run(Path(key[0])).table("tokens")
    return None if tokens is None else paired.success(tokens, SPLIT)


@functools.lru_cache(maxsize=1024)
def average(of: Key, kind: str = "") -> Mean | None:
    """Return the mean over both scopes of what a run does right, over questions; None where it was not measured.

    kind: of question, for what is said when asked; without it next-word success on val.
    """
    try:
        successes = paired.said(Run(Path(of[0])), kind) if kind else _next_word_of(of)
    except UserError:  # not asked so, or data without val: there is no such number, and the row says so by having none
        return None
    return None if successes is None else paired.average(successes)


def sentence(region: str, draws: int, diverged: int, said: Said | None, next_word: Mean | None) -> str:
    """Say whether a region beats random ones: it does where the whole interval lies above nothing. One draw cannot say.

    region: what it is called. diverged: how many of the random ones broke off. That they lost says nothing about where a
    region lies.
    """
    certain = draws > 1 and not diverged
    parts = []
    if said:
        parts += [said.words, f"Over both scopes, {region} {_against(said.difference, draws, certain)}."]
    if next_word:
        parts.append(f"By {NEXT_WORD}, {region} {_against(next_word, draws, certain)} of average success.")
    if parts and draws == 1:
        parts.append("That says nothing about others.")
    elif parts and diverged:
        parts.append(f"But {'one' if diverged == 1 else diverged} of these diverged: nothing can be said of the regions.")
    return " ".join(parts)


def _against(difference: Mean, draws: int, certain: bool) -> str:
    points = f"{signed(difference.value)} ± {difference.half:.1f} points"
    random_ones = "one random region" if draws == 1 else f"{draws} random ones"
    if not certain:
        return f"differs from {random_ones} by {points}"
    if difference.low > 0:
        return f"beats {random_ones} by {points}"
    return f"{'falls behind' if difference.high < 0 else 'does not stand out from'} {random_ones}: {points}"
