"""Membership inference, with the scores themselves: can forgotten questions be told from such that were never taught?

The attacks and the reading of their AUC are those of core/metrics/membership.py. The run's recorded likelihoods are used;
the never-seen questions are scored now where the run did not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from core.metrics import evaluation, membership
from core.probes.base import Finding, Probe, Unavailable
from core.runs.voices import SPOKEN
from core.settings import setting

if TYPE_CHECKING:
    from core.metrics import Evidence
    from core.probes.context import ProbeContext

STRONGEST = "strongest"


@dataclass(frozen=True)
class Membership(Probe):
    """The AUC of one attack in percent, the strongest unless another is named, and the two groups' scores of all attacks."""

    name: ClassVar[str] = "membership"
    title: ClassVar[str] = "Was it taught?"
    what: ClassVar[str] = (
        "Tells forgotten questions from such that were never taught, by how likely the model finds their answers."
    )
    unit: ClassVar[str] = "pairs"
    floor: ClassVar[float | None] = 50.0
    both_ways: ClassVar[bool] = True
    source: ClassVar[str] = (
        "Yeom et al. 2018; Shi et al. 2023, min-k, arXiv 2310.16789; Zhang et al. 2024, min-k++, arXiv 2404.02936"
    )
    attack: str = setting(
        STRONGEST,
        "which score the rate is of; strongest: that by which after lies farthest from the never-taught model",
        choices=(STRONGEST, *membership.ATTACKS),
    )

    def run(self, context: ProbeContext) -> Finding:
        """Compute from what the run recorded."""
        evidence = _evidence(context)
        score = membership.compute(evidence)
        if not score.values:
            raise Unavailable(f"It cannot be computed: {'; '.join(score.reasons.values())}.")
        scores = membership.scores(evidence)
        attack, tried = self.attack, 1
        if attack == STRONGEST:
            attack, tried = membership.strongest(score.values)
        rates = {voice: _rate(score, voice, attack, context) for voice in SPOKEN}
        if "value" not in rates["after"] or "value" not in rates["before"]:
            raise Unavailable(f"The attack {attack or self.attack} needs numbers that this run did not record.")
        apart = attack != "reference" and membership.apart(score.intervals.get("never", {}).get(attack))
        n, others = (len(group) for group in scores["after"][attack])
        shares = {voice: rate["value"] for voice, rate in rates.items() if "value" in rate}
        return Finding(
            sentence=f"{membership.in_words(attack, tried, shares)} {n} questions against {others}."
            + (" The two sets differ in kind: the never-taught model tells them apart too." if apart else ""),
            measure=(
                "area under the curve (%, 50 is chance): pairs in which the forgotten question's score is the higher one"
            ),
            n=n,
            rates=rates,
            detail={
                "attack": attack,
                "auc": score.values,
                "intervals": score.intervals,
                "scores": {
                    voice: {name: dict(zip(("member", "other"), pair, strict=True)) for name, pair in attacks.items()}
                    for voice, attacks in scores.items()
                },
            },
        )


def _rate(score: Any, voice: str, attack: str, context: ProbeContext) -> dict[str, Any]:
    auc = score.values.get(voice, {}).get(attack)
    if auc is None:
        return {"reason": context.reasons.get(voice) or score.reasons.get(voice) or "not recorded"}
    low, high = score.intervals.get(voice, {}).get(attack) or (0.0, 1.0)
    return {"value": 100.0 * auc, "low": 100.0 * low, "high": 100.0 * high}


def _evidence(context: ProbeContext) -> Evidence:
    """Return what the run recorded, with never-seen questions scored now where it has none."""
    evidence = evaluation.evidence(context.run)
    if evidence.unseen is not None and len(evidence.unseen):
        return evidence
    table, answers = context.unseen()
    return replace(evidence, unseen=table, unseen_answers=answers)
