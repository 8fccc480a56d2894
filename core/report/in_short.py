"""Whether a run is good, in two sentences: what is gone and what was kept, with before beside it, and a word that judges.

They count the same answers as `asked.sentence`. Intervals decide what they are called, never a count alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.metrics import intervals
from core.probes.scorecard import TOO_FEW
from core.runs import asked
from core.runs.asked import Outcomes
from core.runs.scores import Scores
from core.runs.voices import REFERENCES

NEARLY_ALL = 0.75
"""share of what before says: where after says more for certain, it is called kept"""
UNSURE = TOO_FEW.capitalize()
WORDS = {
    "unlearn": {
        "good": "No longer said",
        "rest": "Rarely said",
        "noise": "Turned into gibberish",
        "bad": "Still said",
        "few": UNSURE,
    },
    "retention": {"good": "Kept", "bad": "Partly lost", "few": UNSURE},
}
"""scope -> state -> what a reader is told"""
ANSWERS = {
    "unlearn": {
        "good": "It no longer says what had to go",
        "rest": "It rarely says what had to go",
        "noise": "It says gibberish in place of what had to go",
        "bad": "It still says some of what had to go",
        "few": "Too few questions were asked to tell what is gone",
    },
    "retention": {
        "good": "it kept what had to stay",
        "bad": "it lost some of what had to stay",
        "few": "too few were asked to tell what it kept",
    },
}
"""scope -> state -> its half of the answer in one sentence"""


@dataclass(frozen=True)
class Judgement:
    """What is said of one scope."""

    state: str
    """good, rest (gone as asked by the kind that counts, said to others), bad, noise, or few: too few were asked to tell"""
    word: str
    text: str


def judgements(scores: Scores) -> list[Judgement]:
    """Judge what after says of what is to be forgotten, and of what is to be kept; empty where it was not asked.

    What is kept are facts that unlearning trained on. Where others, which it never saw, were lost, that is the judgement.
    """
    kind = asked.kind_asked(scores)
    forget, keep = (asked.outcomes(scores, "after", scope, kind) for scope in ("unlearn", "retention"))
    if forget is None or keep is None:
        return []
    gone, decides = forgotten(scores, kind, forget), kept_by(scores)
    rest = every_kind(scores)
    gone = "rest" if gone == "good" and rest else gone
    before, after = (asked.outcomes(scores, voice, "retention", decides) for voice in ("before", "after"))
    stays = kept(before, after or keep)
    went = f"{_counts(scores, 'unlearn', kind, forget)} {rest}".strip()
    text = f"{_counts(scores, 'retention', kind, keep)} {others(scores)}".strip()
    return [Judgement(gone, WORDS["unlearn"][gone], went), Judgement(stays, WORDS["retention"][stays], text)]


def every_kind(scores: Scores) -> str:
    """Say how much of what must go is said over all kinds of question; empty where that is no leak, or one kind is all."""
    leaked, n = over_kinds(scores, "after")
    references = {voice: over_kinds(scores, voice) for voice in REFERENCES}
    if n == 0 or leak(leaked, None, {voice: counts for voice, counts in references.items() if counts[1]}) != "leaks":
        return ""
    before, of = over_kinds(scores, "before")
    was = f"; before {before}" if of == n else ""
    return f"Over all {len(asked.kinds(scores))} kinds of question it still answers {leaked} of {n} to forget{was}."


def over_kinds(scores: Scores, voice: str) -> tuple[int, int]:
    """Return how many questions of all kinds a voice answers with what must go, and how many it was asked; (0, 0) where
    there is but one kind, or the voice was not asked all of them.
    """
    said = [asked.outcomes(scores, voice, "unlearn", kind) for kind in asked.kinds(scores)]
    there = [each for each in said if each]
    if len(said) < 2 or len(there) < len(said):
        return 0, 0
    return sum(each.count("leaked") for each in there), sum(each.n for each in there)


def beyond(scores: Scores) -> str:
    """Say what the kind of question that counts leaves out, of both scopes; empty where that is nothing that matters."""
    return f"{every_kind(scores)} {others(scores)}".strip()


def others(scores: Scores) -> str:
    """Say how many other facts were kept, where these decide whether anything was; empty elsewhere."""
    before, after = (asked.outcomes(scores, voice, "retention", asked.OTHER) for voice in ("before", "after"))
    if not after or kept_by(scores) == asked.kind_asked(scores):
        return ""
    was = f"; before {before.count('kept')}" if before else ""
    return f"Of {after.n} other facts, which unlearning never saw, it answers {after.count('kept')}{was}."


def kept_by(scores: Scores) -> str:
    """Return the kind of question that decides whether what is to be kept was: other facts where these were lost."""
    before, after = (asked.outcomes(scores, voice, "retention", asked.OTHER) for voice in ("before", "after"))
    return asked.OTHER if after and kept(before, after) == "bad" else asked.kind_asked(scores)


def answer(scores: Scores) -> str:
    """Say in one sentence without numbers whether a run is good; empty where it was not asked."""
    halves = [ANSWERS[scope][each.state] for scope, each in zip(ANSWERS, judgements(scores), strict=False)]
    return f"{halves[0]}, and {halves[1]}." if halves else ""


def forgotten(scores: Scores, kind: str, after: Outcomes) -> str:
    """Return the state of what is to be forgotten; gibberish in its place is no success."""
    others = {voice: asked.outcomes(scores, voice, "unlearn", kind) for voice in REFERENCES}
    counts = {voice: (said.count("leaked"), said.n) for voice, said in others.items() if said}
    state = leak(after.count("leaked"), after.shares["leaked"].high, counts)
    noise = after.shares["noise"].low
    if state == "quiet" and noise is not None and noise > intervals.SAFE:
        return "noise"
    return {"leaks": "bad", "quiet": "good"}.get(state, state)


def leak(leaked: int, high: float | None, references: Mapping[str, tuple[int, int]]) -> str:
    """Say of answers that hold what must go whether that leaks, is quiet, or too few were asked: few.

    high: upper end of their share, percent. references: of models that never knew it, (answers that hold it, asked). Those
    hit upon some as well: no more than that is no leak, if enough were asked.
    """
    said, of = max(references.values(), default=(0, 0))
    if leaked > said:
        return "leaks"
    return "quiet" if intervals.is_low(high, 100 * said / of if of else 0.0) else "few"


def kept(before: Outcomes | None, after: Outcomes) -> str:
    """Return the state of what is to be kept, measured by what before says."""
    known, share = before.percent("kept") if before else 100.0, after.shares["kept"]
    if share.low is not None and share.low >= NEARLY_ALL * known:
        return "good"
    return "bad" if share.high is not None and share.high < known else "few"


def _counts(scores: Scores, scope: str, kind: str, after: Outcomes) -> str:
    outcome = asked.STILL_SAID[scope]
    before = asked.outcomes(scores, "before", scope, kind)
    was = f"; before it answered {before.count(outcome)}" if before else ""
    return f"Of {after.n} questions {asked.TO[scope]} it still answers {after.count(outcome)}{was}."
