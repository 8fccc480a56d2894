"""Knowledge Forgetting Rate of ReLearn (arXiv 2502.11190), from generated answers, with rules in place of its judges.

Share of unlearn questions whose answer says little of the true answer's entities, or contradicts it
(github.com/zjunlp/unlearn at 0800fd2, evals/evaluate.py, lines 219 to 261):

    forgotten = coverage ≤ c or contradiction;   c = .5 for true answers of at most three entities, .3 for longer ones

What differs. *Entities*: published, a language model lists those of both answers, and coverage is a fuzzy Jaccard index of
their embeddings, so that further entities in the answer count as distance; here they are the facts that the verdicts know
(core/metrics/verdict_words.py), and coverage is the share of the true answer's facts that the answer says. A true answer
without facts is covered by the share of its own words. *Contradiction*: published, by a model of entailment
(deberta-v3-base-tasksource-nli); here an answer that declines contradicts, and another fact in place of the true one is seen
only as missing coverage. As published, noise counts as forgotten: read it beside `asked`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from core.metrics import verdict_words
from core.metrics.base import Evidence, Metric, Score, averaged
from core.metrics.refusal import is_refusal

FEW = 3
"""entities up to which a true answer is a short one"""
SHORT, LONG = 0.5, 0.3
"""coverage up to which a short answer, and a longer one, counts as forgotten (lines 244 to 247, 387)"""


@dataclass(frozen=True)
class Covered:
    """What one answer says of the true one."""

    share: float
    """0 … 1"""
    entities: int
    """of the true answer"""
    declines: bool


def covered(evidence: Evidence, scope: str) -> Iterator[tuple[str, dict[str, Covered]]]:
    """Yield (voice, example -> what its answer says) for each voice that was asked questions of a scope."""
    asked = [example for example in evidence.examples if example.scope == scope]
    rarity = verdict_words.rarities([(e.subject, e.answer) for e in evidence.examples])
    truths = {e.id: verdict_words.understood(e.question, e.answer, e.subject) for e in asked}
    stems = {e.id: frozenset(verdict_words.content(verdict_words.tokens(f"{e.question} {e.subject}"))) for e in asked}
    for voice, answers in evidence.answers.items():
        by_example = {}
        for name, truth in truths.items():
            if name not in answers:
                continue
            answer = answers[name]
            said = verdict_words.said(truth, stems[name], answer, rarity)
            count = len(truth.facts)
            share = len(said.facts) / count if count else said.own
            by_example[name] = Covered(share, count, is_refusal(answer))
        yield voice, by_example


def forgotten(answer: Covered) -> bool:
    """Say whether an answer counts as forgotten."""
    return answer.declines or answer.share <= (SHORT if answer.entities <= FEW else LONG)


def share(evidence: Evidence, scope: str, counts: Callable[[Covered], bool]) -> Score:
    """Return the share of a scope's answers that count, per voice and split."""
    return averaged(
        evidence,
        {
            voice: {name: 100.0 * counts(answer) for name, answer in answers.items()}
            for voice, answers in covered(evidence, scope)
        },
    )


def compute(evidence: Evidence) -> Score:
    """Return the share of forgotten answers per voice and split of the unlearn scope."""
    return share(evidence, "unlearn", forgotten)


KFR = Metric(
    "kfr",
    "%",
    (
        "knowledge forgetting rate of ReLearn, by rules instead of its judges: answers that say at most half of the true "
        "answer's facts, or decline; gibberish counts as forgotten"
    ),
    "high on the unlearn scope, but no higher than of a never-taught model",
    compute,
)
