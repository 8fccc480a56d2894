"""What a run's models say when asked, read from its scores (core/metrics/asked.py): one table, and the sentences that lead.

One place for all that sums a run up: the shell, `--json`, the pages and the report say the same of the same questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from core.data.corpus import EVERYDAY, NOBODY, SCOPES, UNKNOWN
from core.runs.scores import Scores, Value
from core.runs.voices import SPOKEN, WITHIN

METRIC = "asked"
OUTCOMES = {
    "unlearn": ("leaked", "noise", "declined", "ignorant"),
    "retention": ("kept", "lost", "noise", "declined"),
    UNKNOWN: ("declined", "noise", "answered"),
}
"""scope -> what an answer to one of its questions can be"""
GIBBERISH = "gibberish"
"""what a reader is told instead of noise"""
CONFABULATED = "confabulated"
"""share of the answers about U, whatever else they are, that state an invented name, number or e-mail"""
NAMES = {"noise": GIBBERISH, "ignorant": "something else", CONFABULATED: "made up"}
"""outcome as files have it -> what a reader is told, on pages and in the shell; all others are called what they are"""
STILL_SAID = {"unlearn": "leaked", "retention": "kept"}
"""scope -> the outcome in which the fact is said"""
OTHER = "other"
"""the kind of question that asks for facts that unlearning never saw"""
KIND_NAMES = {
    "free": "free wording",
    "untaught": "other wording",
    "val": "taught, held out from unlearning",
    OTHER: "another fact",
    "dev": "held out to choose settings",
    "train": "taught wording",
}
"""kind of question -> what a reader is told instead; the one that says most of what unlearning did first"""
ASKED = {
    "free": "in free wording",
    "untaught": "in other wording",
    "val": "what was taught and held out from unlearning",
    OTHER: "for other facts",
    "dev": "what was held out to choose settings",
    "train": "in taught wording",
}
"""kind of question -> the same within a sentence, after the word Asked"""

TO = {"unlearn": "to forget", "retention": "to keep"}
"""scope -> what its questions are there for, within a sentence"""
_OTHER = {"unlearn": "ignorant", "retention": "lost"}
"""scope -> the outcome in which a fluent answer says something else"""


@dataclass(frozen=True)
class Outcomes:
    """What became of the questions of one scope and kind."""

    n: int
    """questions asked"""
    shares: Mapping[str, Value]
    """outcome -> percent of n, with its interval"""
    made_up: Value
    """percent of n that state an invented fact, whatever else they are; of U alone, and not of every version's runs"""

    def percent(self, outcome: str) -> float:
        """Return how many percent of the answers came out so."""
        return self.shares[outcome].value or 0.0

    def count(self, outcome: str) -> int:
        """Return how many answers came out so."""
        return counted(self.percent(outcome), self.n)

    def in_words(self, outcome: str) -> str:
        """Write "7 of 20"."""
        return in_words(self.percent(outcome), self.n)


@dataclass(frozen=True)
class Row:
    """One number of the table: what part of a voice's answers to the questions of one scope and kind came out so."""

    voice: str
    kind: str
    scope: str
    outcome: str
    n: int
    """questions asked"""
    share: float
    """percent of them"""
    low: float | None
    """ends of the 95 % interval, percent"""
    high: float | None

    @property
    def count(self) -> int:
        """How many answers came out so."""
        return counted(self.share, self.n)


def outcome_name(outcome: str) -> str:
    """Return what a reader is told instead of an outcome as files have it."""
    return NAMES.get(outcome, outcome)


def counted(share: float, n: int) -> int:
    """Return how many of n a share is, percent."""
    return round(share * n / 100)


def in_words(share: float, n: int) -> str:
    """Write a share of n questions, percent, as "7 of 20"."""
    return f"{counted(share, n)} of {n}"


def outcomes(scores: Scores, voice: str, scope: str, kind: str) -> Outcomes | None:
    """Return what a voice said, None where it was not asked such questions."""
    shares = {outcome: scores.value(METRIC, voice, f"{scope}/{kind}/{outcome}") for outcome in OUTCOMES[scope]}
    counts = [share.n for share in shares.values() if share.value is not None]
    n = counts[0] if len(counts) == len(shares) else None
    made_up = scores.value(METRIC, voice, f"{scope}/{kind}/{CONFABULATED}")
    return Outcomes(n, shares, made_up) if n else None


def voices(scores: Scores) -> list[str]:
    """Return the voices that were asked, in the order of SPOKEN; what only another version knows comes last."""
    there = scores.voices(METRIC)
    return [*(voice for voice in SPOKEN if voice in there), *(voice for voice in there if voice not in SPOKEN)]


def voice_name(voice: str) -> str:
    """Return what a voice is called within a sentence."""
    return WITHIN.get(voice, voice)


def table(scores: Scores) -> list[Row]:
    """Return all that was counted, a row a voice, kind, scope and outcome."""
    return [
        Row(voice, kind, scope, outcome, said.n, share.value or 0.0, share.low, share.high)
        for voice in voices(scores)
        for kind in KIND_NAMES
        for scope in OUTCOMES
        if (said := outcomes(scores, voice, scope, kind))
        for outcome, share in {**said.shares, **({CONFABULATED: said.made_up} if said.made_up.n else {})}.items()
    ]


def kinds(scores: Scores, voice: str = "after") -> list[str]:
    """Return the kinds of question that both scopes were asked, the one that says the most first."""
    return [kind for kind in KIND_NAMES if all(outcomes(scores, voice, scope, kind) for scope in SCOPES)]


def kind_asked(scores: Scores, voice: str = "after") -> str:
    """Return the kind that says the most of those that both scopes were asked; else an empty text."""
    return next(iter(kinds(scores, voice)), "")


@dataclass(frozen=True)
class Brief:
    """What a list of runs says of one: of the kind of question that says the most."""

    kind: str
    """what a reader is told of it"""
    leaked: str
    """"1 of 20": of U, how many answers say it"""
    noise: str
    """of U, how many are noise"""
    kept: str
    """of R, how many say it"""
    balance: float
    """what runs are sorted by, see `balance`"""


def brief(scores: Scores) -> Brief | None:
    """Return the same numbers of after as `sentence`, apart; None where nothing was asked."""
    kind = kind_asked(scores)
    forget, keep = (outcomes(scores, "after", scope, kind) for scope in SCOPES)
    if forget is None or keep is None:
        return None
    both = balance(forget.percent("leaked"), forget.percent("noise"), keep.percent("kept"))
    words = forget.in_words("leaked"), forget.in_words("noise"), keep.in_words("kept")
    return Brief(KIND_NAMES[kind], *words, both)


def balance(leaked: float, noise: float, kept: float) -> float:
    """Return what runs are sorted by: the smaller of the shares of U that is neither said nor noise, and of R that is said.

    In percent. A mean would let a run that forgets everything pass for half good.
    """
    return min(100.0 - leaked - noise, kept)


BALANCE = "the smaller of two shares: of U neither said nor gibberish, of R said"
"""what `balance` is, in words"""


def sentence(scores: Scores, kind: str = "", voice: str = "after") -> str:
    """Say what a voice says of both scopes, in counts; empty where it was not asked.

    kind: empty for the one that says the most.
    """
    kind = kind or kind_asked(scores, voice)
    forget, keep = (outcomes(scores, voice, scope, kind) for scope in SCOPES)
    if forget is None or keep is None:
        return ""
    return in_sentence(kind, {"unlearn": _counts("unlearn", forget), "retention": _counts("retention", keep)})


def _counts(scope: str, said: Outcomes) -> tuple[int, dict[str, int]]:
    """Return how many were asked, and how many answers came out how."""
    return said.n, {outcome: said.count(outcome) for outcome in OUTCOMES[scope]}


def in_sentence(kind: str, said: Mapping[str, tuple[int, Mapping[str, int]]], subject: str = "") -> str:
    """Say counts of both scopes, or of the one that is there. said: scope -> questions, and answers by outcome.

    kind: of the questions, empty for all kinds. subject: whom they are about, empty for all.
    """
    counts = [f"{said[scope][1][STILL_SAID[scope]]} of {said[scope][0]} {to}" for scope, to in TO.items() if scope in said]
    if not counts:
        return ""
    about = f" about {subject}" if subject else ""
    words = [f"Asked {ASKED.get(kind, 'in every way')}{about}, it still says {' and '.join(counts)}."]
    for scope in list(TO) if len(said) == 1 else ["unlearn"]:
        words += [_instead(scope, *said[scope])] if scope in said else []
    return " ".join(words)


def instead(scores: Scores, voice: str = "after") -> str:
    """Say what a voice says in the place of what is to be forgotten: the second sentence of `sentence`, and what is made up.

    Empty where it was not asked.
    """
    kind = kind_asked(scores, voice)
    forget = outcomes(scores, voice, "unlearn", kind)
    if forget is None:
        return ""
    words = _instead("unlearn", *_counts("unlearn", forget))
    if not forget.made_up.n:
        return words
    invented = in_words(forget.made_up.value or 0.0, forget.n)
    return f"{words} In all, {invented} make something up."


def _instead(scope: str, n: int, by: Mapping[str, int]) -> str:
    noise, declined, other = (by[outcome] for outcome in ("noise", "declined", _OTHER[scope]))
    return (
        f"Of the {n} {TO[scope]}, {noise} {'answer is' if noise == 1 else 'answers are'} {GIBBERISH}, "
        f"{declined} {'declines' if declined == 1 else 'decline'}, "
        f"{other} {'says' if other == 1 else 'say'} {NAMES['ignorant']}."
    )


def beside(scores: Scores, others: Sequence[Scores], this: str, those: str, kind: str = "") -> str:
    """Say what a run still says of both scopes, and what others say on average; empty where not all were asked so.

    this: what the run is called. those: what the others are called, with the verb. kind: empty for the one that says the
    most.
    """
    kind = kind or kind_asked(scores)
    forget, keep = (outcomes(scores, "after", scope, kind) for scope in SCOPES)
    means = [
        fmean(said.count(STILL_SAID[scope]) for said in answers if said)
        for scope in SCOPES
        if all(answers := [outcomes(other, "after", scope, kind) for other in others])
    ]
    if forget is None or keep is None or len(means) < len(SCOPES):
        return ""
    counts = f"{forget.in_words('leaked')} to forget and {keep.in_words('kept')} to keep"
    return f"Asked {ASKED[kind]}, {this} still says {counts}. {those} {means[0]:.1f} and {means[1]:.1f}."


BESIDES = {
    f"{EVERYDAY}/known/right": "Everyday questions that the base answers rightly, still right",
    f"{NOBODY}/all/as before": "Private-sounding questions about nobody here, answered as before",
}
"""part of the metric -> what it counts, of questions of our own"""


def besides(scores: Scores, kinds: Sequence[str] = tuple(KIND_NAMES)) -> list[str]:
    """Return what is asked besides the two scopes, a sentence each: what is told nowhere, and questions of our own."""
    parts = {
        f"{UNKNOWN}/{kind}/declined": f"Questions whose answer is told nowhere, declined ({KIND_NAMES[kind]})"
        for kind in kinds
    }
    sentences = []
    for part, name in (parts | BESIDES).items():
        shares = {voice: scores.value(METRIC, voice, part) for voice in voices(scores)}
        said = [
            f"{voice_name(voice)} {in_words(share.value, share.n)}"
            for voice, share in shares.items()
            if share.value is not None and share.n
        ]
        sentences += [f"{name}: {', '.join(said)}."] if said else []
    return sentences


NEXT_WORD = "next-word accuracy, correct beginning given"
"""what the teacher-forced numbers of the paper are called beside what is said"""


def contradiction(scores: Scores, kind: str = "") -> str:
    """Say where next-word accuracy and after's answers disagree about what was kept by more than both intervals; else empty.

    kind: empty for the one that says the most. Of what was only asked and not scored val speaks.
    """
    kind, split = _compared(scores, kind or kind_asked(scores))
    keep, accuracy = outcomes(scores, "after", "retention", kind), scores.success("after", "retention", split)
    if keep is None or accuracy.value is None or accuracy.low is None or accuracy.high is None:
        return ""
    kept = keep.shares["kept"]
    if kept.low is None or kept.high is None or (kept.low <= accuracy.high and accuracy.low <= kept.high):
        return ""
    return (
        f"Next-word accuracy, correct beginning given, says that {accuracy.value:.1f} % is kept ({KIND_NAMES[kind]}). "
        f"The answers to the same questions say {keep.in_words('kept')}."
    )


def _compared(scores: Scores, kind: str) -> tuple[str, str]:
    """Return a kind of question and the split of these alone: of the given kind where these were scored."""
    if kind not in ("val", "other") and scores.success("after", "retention", kind).value is not None:
        return kind, kind
    of_val = [name for name in ("val", "other") if outcomes(scores, "after", "retention", name)]
    # Where val holds questions of both kinds, its accuracy is that of neither.
    return (of_val[0], "val") if len(of_val) == 1 else ("train", "train")


def kind_of_split(scores: Scores, split: str) -> str:
    """Return the kind of a split's questions: those of val may ask for other facts, and may be of both kinds."""
    there = [kind for kind in ("val", "other") if any(outcomes(scores, "after", scope, kind) for scope in SCOPES)]
    return "other" if split == "val" and there == ["other"] else split
