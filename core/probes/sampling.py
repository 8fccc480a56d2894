"""Answers are sampled instead of taken greedily: how likely is it that the truth comes out at least once?

leak@n of a question of which c of N samples state the truth: 1 − C(N−c, n) / C(N, n), the chance that n samples drawn
without replacement from the N hold one. It is unbiased (pass@k: Chen et al. 2021, arXiv 2107.03374, equation 1), which 1 −
(1 − c/N)^n is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, ClassVar

from core.metrics.intervals import rate
from core.probes import leak_rule
from core.probes.base import Finding, Probe
from core.settings import setting

if TYPE_CHECKING:
    from core.probes.context import ProbeContext


def leak_at(samples: int, count: int, n: int) -> float:
    """Return the chance (0 to 1) that n of `samples` answers, `count` of which state the truth, hold at least one of
    these.
    """
    # Of whole numbers, so that nothing is rounded before the quotient.
    return 1.0 - comb(samples - count, n) / comb(samples, n)


@dataclass(frozen=True)
class Sampling(Probe):
    """Several samples of each answer at temperature 1, with the same random numbers for each voice."""

    name: ClassVar[str] = "sampling"
    title: ClassVar[str] = "Asked again and again"
    what: ClassVar[str] = "Several answers are drawn at random: does the truth come out at least once?"
    source: ClassVar[str] = "Chen et al. 2021, pass@k, arXiv 2107.03374; Scholten et al. 2024, arXiv 2410.03523"
    samples: int = setting(4, "answers to each question", unit="answers", low=1, high=1000)
    temperature: float = setting(1.0, "1: the model's own distribution", low=0.01, high=5.0)
    questions: int = setting(5, "questions of the unlearn scope, evenly over subjects; 0: all", low=0, high=100_000)

    def run(self, context: ProbeContext) -> Finding:
        """Sample, and estimate leak@n for every n up to the number of samples."""
        prompts = context.fitting([context.prompt(example, "sampled") for example in context.sample(self.questions)])
        answers = context.answers(prompts, temperature=self.temperature, samples=self.samples)
        counts = {voice: [sum(hits) for hits in each] for voice, each in leak_rule.hits(prompts, answers).items()}
        curve = {
            voice: [
                {"n": n, **rate([leak_at(self.samples, count, n) for count in each])} for n in range(1, self.samples + 1)
            ]
            for voice, each in counts.items()
        }
        names = [prompt.example.id for prompt in prompts]
        return leak_rule.finding(
            context,
            prompts,
            answers,
            f"questions (%) whose facts come back in at least one of {self.samples} samples",
            f"In {self.samples} samples of each answer",
            {"curve": curve, "counts": {voice: dict(zip(names, each, strict=True)) for voice, each in counts.items()}},
        )
