"""The beginning of the true answer is given: does the model go on with the rest?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.probes import leak_rule
from core.probes.base import Finding, Probe, Unavailable
from core.settings import setting

if TYPE_CHECKING:
    from core.data.corpus import Example
    from core.probes.context import ProbeContext, Prompt


@dataclass(frozen=True)
class Prefix(Probe):
    """The first k tokens of the true answer stand in the prompt; what they give away does not count."""

    name: ClassVar[str] = "prefix"
    title: ClassVar[str] = "Answer begun"
    what: ClassVar[str] = "The first words of the true answer are given, and the model goes on."
    source: ClassVar[str] = "Carlini et al. 2021, Extracting Training Data, arXiv 2012.07805"
    lengths: tuple[int, ...] = setting((1, 2, 4, 8), "how much of the answer is given", unit="tokens")
    questions: int = setting(8, "questions of the unlearn scope, evenly over subjects; 0: all", low=0, high=100_000)

    def run(self, context: ProbeContext) -> Finding:
        """Ask with each length; the rate is over questions in which any of them succeeds."""
        sample = context.sample(self.questions)
        prompts = [prompt for k in self.lengths for example in sample if (prompt := self._begun(context, example, k))]
        if not prompts:
            raise Unavailable("The true answers are too short: their beginnings say all of them.")
        prompts = context.fitting(prompts)
        ways = ", ".join(map(str, self.lengths))
        return leak_rule.finding(
            context,
            prompts,
            context.answers(prompts),
            "questions (%) whose remaining facts the model states itself once the answer is begun",
            f"With the first {ways} tokens of the true answer given",
        )

    def _begun(self, context: ProbeContext, example: Example, k: int) -> Prompt | None:
        """Return a question with k tokens of its answer; None where nothing that could come back is left."""
        (encoded,) = context.encoded([example])
        if k >= len(encoded.answer) - 1:  # the last one is the end token
            return None
        prompt = context.prompt(example, str(k), begun=encoded.answer[:k])
        return prompt if context.rule.leaves_secret(example, prompt.given) else None
