"""What a model says when it is asked: of U leaked, noise, declined or ignorant, of R kept, lost, noise or declined.

Counted from generated answers by the rules of `verdicts`, so it is what a reader of the answers finds, where teacher-forced
accuracy only says which next word would be likeliest had the model begun rightly. A model that has lost 19 of 20 answers can
still predict 79 % of their words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.data import everyday
from core.data.corpus import EVERYDAY, KINDS, NOBODY, SCOPES, UNKNOWN, Example
from core.metrics import intervals, verdict_rules, verdict_words, verdicts
from core.metrics.base import Evidence, Metric, Score
from core.metrics.confabulated import invented
from core.runs.asked import CONFABULATED, METRIC, STILL_SAID

OUTCOMES = {
    "unlearn": {"leaked": "leaked", "degenerate": "noise", "refused": "declined", "forgotten": "ignorant"},
    "retention": {"kept": "kept", "lost": "lost", "degenerate": "noise", "refused": "declined"},
    UNKNOWN: {"refused": "declined", "degenerate": "noise", "forgotten": "answered", "leaked": "answered"},
}
"""scope -> verdict -> what it is called here"""
BESIDES = {EVERYDAY: ("right", "wrong", "noise", "declined"), NOBODY: ("answered", "noise", "declined")}
"""scope of our own questions -> what an answer can be"""


def compute(evidence: Evidence) -> Score:
    """Return each outcome's share, part "scope/kind/outcome", with n; an example's value is 100 where its fact is said.

    kind: of the question, one of KINDS.
    """
    score = Score({}, reasons=dict(evidence.missing))
    asked = [example for example in evidence.examples if example.scope in OUTCOMES]
    rarity = verdict_words.rarities([(e.subject, e.answer) for e in asked])
    public = verdicts.public_texts(
        [{"subject": e.subject, "scope": e.scope, "question": e.question, "truth": e.answer} for e in asked]
    )
    kinds = [
        (scope, kind, [e.id for e in asked if (e.scope, e.kind) == (scope, kind)]) for scope in OUTCOMES for kind in KINDS
    ]
    taught: dict[str, list[str]] = {}
    for e in asked:
        taught.setdefault(e.subject, []).append(e.answer)
    for voice in evidence.answers:
        outcomes = _of_voice(evidence, voice, asked, rarity, public)
        made_up = _confabulated(evidence.answers[voice], asked, outcomes, taught)
        score.values[voice], score.intervals[voice], score.counts[voice] = {}, {}, {}
        score.examples[voice] = {i: 100.0 * (outcome in STILL_SAID.values()) for i, outcome in outcomes.items()}
        for scope, kind, members in kinds:
            ids = [i for i in members if i in outcomes]
            for outcome in dict.fromkeys(OUTCOMES[scope].values()):
                _add(score, voice, f"{scope}/{kind}/{outcome}", [outcomes[i] == outcome for i in ids])
            if scope == "unlearn":
                _add(score, voice, f"{scope}/{kind}/{CONFABULATED}", [i in made_up for i in ids])
    _add_besides(evidence, score)
    return score


def shares(examples: Sequence[Example], answers: Mapping[str, str], lexicon: frozenset[str]) -> dict[str, float]:
    """Return in percent what a model that is being unlearned says to some questions of both scopes.

    said_forgotten (of U, not said), said_kept (of R, said), said_noise_unlearn, said_noise_retention, said_declined (of R),
    said_made_up (of U, a fact that nobody taught). said_asked is a number: of questions in the smaller scope.
    """
    import pandas as pd

    nothing = pd.DataFrame(columns=["example", "position", "token", "text"])
    found = compute(Evidence(examples, nothing, {"after": answers}, {}, lexicon, {}))

    def share(scope: str, outcome: str) -> float:
        parts = [name for name in found.values["after"] if name.startswith(scope) and name.endswith(f"/{outcome}")]
        of = sum(found.counts["after"][part] for part in parts)
        return sum(found.values["after"][part] * found.counts["after"][part] for part in parts) / of if of else 0.0

    return {
        "said_forgotten": 100.0 - share("unlearn", "leaked"),
        "said_kept": share("retention", "kept"),
        "said_noise_unlearn": share("unlearn", "noise"),
        "said_noise_retention": share("retention", "noise"),
        "said_declined": share("retention", "declined"),
        "said_made_up": share("unlearn", CONFABULATED),
        "said_asked": float(min(sum(e.scope == scope for e in examples) for scope in SCOPES)),
    }


def _add(score: Score, voice: str, part: str, hits: Sequence[bool]) -> None:
    """Add the share of some questions in which something is so, with its interval and their number, if there are any."""
    if hits:
        rate = intervals.rate([float(hit) for hit in hits])
        score.values[voice][part] = rate["value"]
        score.intervals[voice][part] = [rate["low"], rate["high"]]
        score.counts[voice][part] = len(hits)


def _confabulated(
    answers: Mapping[str, str], asked: Sequence[Example], outcomes: Mapping[str, str], taught: Mapping[str, Sequence[str]]
) -> set[str]:
    """Return the questions about U whose answer, noise aside, states a fact that nobody taught about its subject.

    taught: subject -> all answers about it.
    """
    return {
        e.id
        for e in asked
        if e.scope == "unlearn"
        and outcomes.get(e.id) not in (None, "noise")
        and invented(answers[e.id], e.question, taught[e.subject], e.subject)
    }


def _add_besides(evidence: Evidence, score: Score) -> None:
    """Add what becomes of our own questions: everyday/all and everyday/known (those that the base answers rightly), and
    nobody/all, with “as before”: as often declined, noise or answered, question by question.
    """
    outcomes = {voice: _of_besides(evidence, answers) for voice, answers in evidence.answers.items()}
    known = {i for i, outcome in outcomes.get("never", {}).items() if outcome == "right"}
    for voice, found in outcomes.items():
        then = outcomes.get("before", {})
        groups = {
            "everyday/all": [i for i in found if i.startswith(EVERYDAY)],
            "everyday/known": [i for i in found if i in known],
            "nobody/all": [i for i in found if i.startswith(NOBODY)],
        }
        for part, ids in groups.items():
            for outcome in BESIDES[part.partition("/")[0]]:
                _add(score, voice, f"{part}/{outcome}", [found[i] == outcome for i in ids])
        _add(score, voice, "nobody/all/as before", [found[i] == then[i] for i in groups["nobody/all"] if i in then])


def _of_besides(evidence: Evidence, answers: Mapping[str, str]) -> dict[str, str]:
    """Return example -> outcome of our own questions."""
    outcomes = {}
    for e in evidence.examples:
        if e.scope in BESIDES and e.id in answers:
            measured = verdicts.measure("unlearn", e.question, "", "", answers[e.id], evidence.lexicon)
            verdict = verdict_rules.judge(measured, verdict_rules.DEFAULT).verdict
            plain = "wrong" if e.scope == EVERYDAY else "answered"
            outcomes[e.id] = {"refused": "declined", "degenerate": "noise"}.get(verdict, plain)
            if e.scope == EVERYDAY and everyday.is_right(e, answers[e.id]):
                outcomes[e.id] = "right"
    return outcomes


def _of_voice(
    evidence: Evidence, voice: str, asked: Sequence[Example], rarity: Mapping[str, float], public: Mapping[str, str]
) -> dict[str, str]:
    """Return example -> outcome of a voice's answers."""
    answers = evidence.answers[voice]
    likelihoods = verdicts.likelihoods(evidence.tokens, voice) if voice in evidence.voices() else {}
    outcomes = {}
    for e in asked:
        if e.id not in answers:
            continue
        p, first = likelihoods.get(e.id, (None, None))
        measured = verdicts.measure(
            "unlearn" if e.scope == UNKNOWN else e.scope,
            e.question,
            e.answer,
            e.subject,
            answers[e.id],
            evidence.lexicon,
            rarity=rarity,
            p=p,
            first=first,
            public=public[e.subject] if e.scope == "unlearn" else "",
        )
        verdict = verdict_rules.judge(measured, verdict_rules.DEFAULT).verdict
        # The truth of what is not known is itself a way to decline, which the rules would take for said.
        outcomes[e.id] = "declined" if e.scope == UNKNOWN and measured.refusal else OUTCOMES[e.scope][verdict]
    return outcomes


ASKED = Metric(
    METRIC,
    "%",
    "what generated answers say: of U leaked, gibberish, declined or else, of R kept, lost, gibberish or declined",
    "leaked and gibberish low, kept high",
    compute,
)
