"""Knowledge Retention Rate of ReLearn (arXiv 2502.11190), from generated answers, with rules in place of its judges.

Share of retention questions whose answer says enough of the true answer's entities and does not contradict it
(github.com/zjunlp/unlearn at 0800fd2, evals/evaluate.py, lines 264 to 307):

    retained = coverage ≥ .3 and no contradiction

Coverage and contradiction are those of core/metrics/kfr.py, which says what differs from the published ones.
"""

from __future__ import annotations

from core.metrics.base import Evidence, Metric, Score
from core.metrics.kfr import Covered, share

ENOUGH = 0.3
"""coverage from which on an answer counts as retained (lines 286 and 388)"""


def retained(answer: Covered) -> bool:
    """Say whether an answer counts as retained."""
    return answer.share >= ENOUGH and not answer.declines


def compute(evidence: Evidence) -> Score:
    """Return the share of retained answers per voice and split of the retention scope."""
    return share(evidence, "retention", retained)


KRR = Metric(
    "krr",
    "%",
    (
        "knowledge retention rate of ReLearn, by rules instead of its judges: answers that say at least 30 % of the true "
        "answer's facts and do not decline"
    ),
    "high on the retention scope",
    compute,
)
