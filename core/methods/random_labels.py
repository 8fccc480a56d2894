"""Random labels: learn nonsense in place of the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import FORGET, Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class RandomLabels(Method):
    """loss = α · CE(U with random labels), drawn anew each step, uniform over all tokens that are not special."""

    name: ClassVar[str] = "random-labels"
    formula: ClassVar[str] = "α · CE(U, random labels)"
    source: ClassVar[str] = "baseline of arXiv 2407.01920, section 4.1; Yao et al. 2024, arXiv 2402.15159"
    known_for: ClassVar[str] = "Published (7B, privacy, Llama-2): Unlearn Success 99.0, Retention Success 1.3."
    streams: ClassVar[tuple[str, ...]] = (FORGET,)
    forget_weight: float = setting(1.0, "weight of the forget loss", low=0.0, high=1000.0)

    def loss(self, context: Context) -> torch.Tensor:
        """Return the cross-entropy towards labels that are drawn now."""
        part = context.forget
        return self.forget_weight * part.mean(part.nll_of(part.random_labels())).mean()
