"""Truth ratio (TOFU, arXiv 2401.06121, equation 1): are wrong answers of the same form as likely as the true one?

    R = (1/n · Σ_i p(â_i|q)^(1/|â_i|)) / p(a|q)^(1/|a|)

â_i: n wrong answers, at most three, in which one fact is replaced (core/data/wrong_answers.py; TOFU's were written by a
large model).
a: the true answer (TOFU takes a paraphrase of it, which data seldom have). Near 0 the model tells true from wrong; from 1 on
it does not. Over a part it is the geometric mean: a ratio can be large.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from core.metrics import intervals
from core.metrics.base import NOT_RECORDED, Evidence, Metric, Score, bounds, parts
from core.metrics.probability import log_of_examples


def voices(evidence: Evidence) -> list[str]:
    """Return the voices that were asked about wrong answers."""
    return [voice for voice in evidence.voices() if evidence.wrong.get(voice)]


def of_examples(evidence: Evidence, voice: str) -> dict[str, float]:
    """Return example -> truth ratio, of the examples for which wrong answers were recorded."""
    if voice not in voices(evidence):
        return {}
    true = log_of_examples(evidence.tokens, voice)
    return {
        i: float(np.mean(np.exp(wrong)) / np.exp(true[i]))
        for i, wrong in evidence.wrong.get(voice, {}).items()
        if i in true and len(wrong)
    }


def compute(evidence: Evidence) -> Score:
    """Return the geometric mean of the truth ratio per voice, scope and split."""
    if not voices(evidence):
        none = sum(evidence.left_out.values())
        why = f"no wrong answer could be made for any of {none} examples: no fact of theirs has a counterpart elsewhere"
        return Score({}, reasons={"all": why if none else f"the likelihood of wrong answers {NOT_RECORDED}"})
    score = Score({}, reasons=dict(evidence.missing), notes=_notes(evidence))
    for voice in voices(evidence):
        score.examples[voice] = of_examples(evidence, voice)
        score.values[voice], pairs = {}, {}
        for part, ids in parts(evidence, score.examples[voice]):
            logs = np.log([score.examples[voice][i] for i in ids])
            score.values[voice][part] = float(np.exp(logs.mean()))
            pairs[part] = intervals.interval(np.exp(intervals.weights(len(ids)) @ logs)) if len(ids) > 1 else None
        score.intervals[voice] = bounds(pairs)
    return score


def _notes(evidence: Evidence) -> list[str]:
    notes = [
        f"{part}: {count} examples have no fact that could be replaced" for part, count in sorted(evidence.left_out.items())
    ]
    measured = {i for voice in voices(evidence) for i in evidence.wrong[voice]}
    there, kept = (
        Counter(f"{e.scope}/{e.split}" for e in evidence.examples if e.id in measured or not only) for only in (False, True)
    )
    for part, count in sorted(kept.items()):
        able = there[part] - evidence.left_out.get(part, 0)
        if count < able:
            notes.append(f"{part}: measured on {count} of the {able} examples that have one, evenly drawn")
    return notes


TRUTH_RATIO = Metric(
    "truth_ratio",
    "",
    "likelihood of wrong answers of the same form over that of the true one (TOFU): near 0 the model knows which is true",
    "on the unlearn scope as of a never-taught model; low on the retention scope",
    compute,
)
