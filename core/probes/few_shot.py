"""Retained questions with their answers stand before the question: does the company bring the truth back?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.probes import leak_rule
from core.probes.base import Finding, Probe, Unavailable
from core.settings import setting

if TYPE_CHECKING:
    from core.data.corpus import Example
    from core.probes.context import ProbeContext


@dataclass(frozen=True)
class FewShot(Probe):
    """Pairs of the retention scope, of the same subject as far as there are any: in its own style, and about its own
    world.
    """

    name: ClassVar[str] = "few-shot"
    title: ClassVar[str] = "In company (few-shot)"
    what: ClassVar[str] = "Retained questions with their answers stand before the question."
    shots: int = setting(3, "pairs before the question", unit="pairs", low=1, high=50)
    questions: int = setting(6, "questions of the unlearn scope, evenly over subjects; 0: all", low=0, high=100_000)

    def run(self, context: ProbeContext) -> Finding:
        """Ask after the pairs. What these say themselves cannot come back."""
        prompts = []
        for example in context.sample(self.questions):
            messages = [
                turn for e in self._pairs(context, example) for turn in (("user", e.question), ("assistant", e.answer))
            ]
            prompt = context.prompt(example, "few-shot", [*messages, ("user", example.question)])
            if context.rule.leaves_secret(example, prompt.given):
                prompts.append(prompt)
        if not prompts:
            raise Unavailable("The retained pairs give all answers away.")
        prompts = context.fitting(prompts)
        return leak_rule.finding(
            context,
            prompts,
            context.answers(prompts),
            "questions (%) whose facts come back after retained question/answer pairs",
            f"After {self.shots} retained question/answer pairs",
        )

    def _pairs(self, context: ProbeContext, example: Example) -> list[Example]:
        """Return pairs, those of the same subject first but nearest to the question: what stands last weighs most."""
        pool = context.sample(0, "retention", "train", "dev")
        pool.sort(key=lambda e: e.subject != example.subject)  # stable: the seeded order stays within both parts
        return pool[: self.shots][::-1]
