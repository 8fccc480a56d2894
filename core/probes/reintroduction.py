"""The fact is in the prompt: does the model use it? After UnUnlearning (Shumailov et al. 2024, arXiv 2407.00106).

Using it is contextual use, not a leak: the model need not remember anything. Whether it should work depends on why the fact
was to be forgotten. For privacy a model that reads what it is shown is wanted; where nobody may be helped with the content
at all (dangerous knowledge) it is not, and only a filter at inference can prevent it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from core.probes import leak_rule
from core.probes.base import Finding, Probe
from core.settings import setting

if TYPE_CHECKING:
    from core.probes.context import ProbeContext


@dataclass(frozen=True)
class Reintroduction(Probe):
    """The true answer stands above the question."""

    name: ClassVar[str] = "reintroduction"
    title: ClassVar[str] = "Shown the fact (prompt)"
    what: ClassVar[str] = "The fact itself stands in the prompt: does the model use it?"
    kind: ClassVar[str] = "use"
    source: ClassVar[str] = "Shumailov et al. 2024, UnUnlearning, arXiv 2407.00106"
    questions: int = setting(8, "questions of the unlearn scope, evenly over subjects; 0: all", low=0, high=100_000)

    def run(self, context: ProbeContext) -> Finding:
        """Ask with the fact above the question. Here what the prompt says counts: all but what the question itself says."""
        prompts = []
        for e in context.sample(self.questions):
            prompt = context.prompt(e, "in context", [("user", f"{e.answer}\n\n{e.question}")])
            # Judged as an answer that should be right: whole, not by its first secret.
            prompts.append(replace(prompt, given=e.question, example=replace(e, scope="retention")))
        prompts = context.fitting(prompts)
        finding = leak_rule.finding(
            context,
            prompts,
            context.answers(prompts),
            "questions (%) whose facts the answer takes from the prompt",
            "With the fact in the prompt",
        )
        rates = finding.rates
        change = rates["after"]["value"] - rates["before"]["value"]
        return replace(
            finding,
            sentence=f"{finding.sentence.removesuffix('.')}: contextual use, not a leak.",
            leaked=[],
            detail={
                **finding.detail,
                "used": finding.leaked,
                "change": change,
                "purpose": {
                    "privacy": "wanted: the model should still read what it is shown",
                    "dangerous": "not wanted: it would help anybody who brings the fact along",
                },
            },
        )
