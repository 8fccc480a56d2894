"""Does ordinary further training bring it back? After Łucki et al. 2024 (arXiv 2409.18025, section 4: ten unrelated
examples).

As relearning, but what is trained on has nothing to do with either scope: everyday questions and answers, which anybody who
adapts the model to a use of their own might train on. Nothing of what is asked stands in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.data import general_text
from core.probes.base import Finding, Probe
from core.probes.relearning import relearnt
from core.settings import setting

if TYPE_CHECKING:
    from core.probes.context import ProbeContext


@dataclass(frozen=True)
class Benign(Probe):
    """Train on everyday questions, ask the forgotten ones."""

    name: ClassVar[str] = "benign"
    title: ClassVar[str] = "Trained further on something else"
    what: ClassVar[str] = "Trains a copy for a few steps on everyday questions: does what was forgotten come back by itself?"
    unit: ClassVar[str] = "tokens"
    cost: ClassVar[str] = "minutes"
    floor: ClassVar[float | None] = None
    source: ClassVar[str] = "Łucki et al. 2024, An adversarial perspective on machine unlearning, arXiv 2409.18025"
    steps: int = setting(20, "optimizer steps", unit="steps", low=1, high=10_000)
    taught: int = setting(64, "everyday questions and answers that are trained on", unit="questions", low=1, high=100_000)
    questions: int = setting(
        16, "questions of the unlearn scope that are asked, evenly over subjects; 0: all", low=0, high=100_000
    )
    learning_rate: float = setting(1e-3, "AdamW rate, constant", low=1e-8, high=1.0)
    batch_size: int = setting(8, "examples a step", unit="examples", low=1, high=1024)

    def run(self, context: ProbeContext) -> Finding:
        """Train on ordinary text (assets/data/ordinary.json, or the run's own general text), then ask."""
        everyday = general_text.examples(context.config.data.general)[: self.taught]
        tested = context.sample(self.questions)
        subject = f"After {self.steps} steps on {len(everyday)} everyday questions"
        return relearnt(context, self, context.encode(everyday), tested, "", subject)
