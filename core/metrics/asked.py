"""What a model says when it is asked: of U leaked, noise, declined or ignorant, of R kept, lost, noise or declined.

Counted from generated answers by the rules of `verdicts`, so it is what a reader of the answers finds, where teacher-forced
accuracy only says which next word would be likeliest had the model begun rightly. A model that has lost 19 of 20 answers can
still predict 79 % of their words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from core.metrics import accuracy, intervals, probability, verdict_rules, verdict_words, verdicts
from core.metrics.base import Evidence, Metric, Score, parts
from core.runs.asked import METRIC, STILL_SAID

OUTCOMES = {
    "unlearn": {"leaked": "leaked", "degenerate": "noise", "refused": "declined", "forgotten": "ignorant"},
    "retention": {"kept": "kept", "lost": "lost", "degenerate": "noise", "refused": "declined"},
}
"""scope -> verdict -> what it is called here"""


def compute(evidence: Evidence) -> Score:
    """Return each outcome's share, part "scope/split/outcome", with n; an example's value is 100 where its fact is said."""
    score = Score({}, reasons=dict(evidence.missing))
    for voice in evidence.answers:
        outcomes = of_voice(evidence, voice)
        score.values[voice], score.intervals[voice], score.counts[voice] = {}, {}, {}
        score.examples[voice] = {i: 100.0 * (outcome in STILL_SAID.values()) for i, outcome in outcomes.items()}
        for part, ids in parts(evidence, outcomes):
            for outcome in OUTCOMES[part.partition("/")[0]].values():
                rate = intervals.rate([float(outcomes[i] == outcome) for i in ids])
                name = f"{part}/{outcome}"
                score.values[voice][name] = rate["value"]
                score.intervals[voice][name] = [rate["low"], rate["high"]]
                score.counts[voice][name] = len(ids)
    return score


def of_voice(evidence: Evidence, voice: str) -> dict[str, str]:
    """Return example -> outcome of a voice's answers."""
    answers, likelihoods = evidence.answers[voice], _likelihoods(evidence, voice)
    asked = [e for e in evidence.examples if e.scope in OUTCOMES and e.id in answers]
    public = verdicts.public_texts(
        [{"subject": e.subject, "scope": e.scope, "question": e.question, "truth": e.answer} for e in evidence.examples]
    )
    rarity = verdict_words.rarities([(e.subject, e.answer) for e in evidence.examples if e.scope in OUTCOMES])
    outcomes = {}
    for e in asked:
        p, first = likelihoods.get(e.id, (None, None))
        measured = verdicts.measure(
            e.scope,
            e.question,
            e.answer,
            e.subject,
            answers[e.id],
            evidence.lexicon,
            rarity=rarity,
            p=p,
            first=first,
            public=public.get(e.subject, "") if e.scope == "unlearn" else "",
        )
        outcomes[e.id] = OUTCOMES[e.scope][verdict_rules.judge(measured, verdict_rules.DEFAULT).verdict]
    return outcomes


def _likelihoods(evidence: Evidence, voice: str) -> Mapping[str, tuple[float | None, float | None]]:
    """Return example -> (probability a token, share of tokens ranked first) of the true answer, where it was scored."""
    if voice not in evidence.voices():
        return {}
    first = accuracy.shares(evidence.tokens, voice)
    logs = probability.log_of_examples(evidence.tokens, voice)
    return {i: (math.exp(p) if math.isfinite(p) else None, first[i]) for i, p in logs.items()}


ASKED = Metric(
    METRIC,
    "%",
    "what generated answers say, by rules: of U leaked, noise, declined or ignorant, of R kept, lost, noise or declined",
    "leaked and noise low, kept high",
    compute,
)
