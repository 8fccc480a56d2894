"""General knowledge: 120 multiple-choice questions of our own, answered by likelihood (assets/data/choices.json).

The option with the highest log-probability per character counts as the answer (lm-evaluation-harness: acc_norm); the
options are not shown to the model, each is scored alone. With four options, chance is 25 %.
"""

from __future__ import annotations

from core.metrics import intervals
from core.metrics.base import NOT_RECORDED, Evidence, Metric, Score, bounds

CHANCE = 25.0
"""percent"""


def compute(evidence: Evidence) -> Score:
    """Return the share of right answers per voice; per question under its number."""
    if not evidence.choices:
        return Score({}, reasons={"all": f"multiple choice {NOT_RECORDED}"})
    score = Score({}, reasons=dict(evidence.missing), notes=[f"chance is {CHANCE:g} %"])
    for voice, questions in evidence.choices.items():
        # The right option stands first; a tie is no answer.
        right = {str(n): 100.0 * (options[0] > max(options[1:])) for n, options in enumerate(questions) if options}
        if right:
            score.examples[voice] = right
            score.values[voice] = {"questions": sum(right.values()) / len(right)}
            score.intervals[voice] = bounds({"questions": intervals.of_mean(list(right.values()))})
    return score


CHOICES = Metric(
    "choices",
    "%",
    "general knowledge: right answers to 120 multiple-choice questions of our own, by likelihood; chance is 25 %",
    "as high as before",
    compute,
)
