"""Gradient ascent on U with descent on R (in distribution)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class GradDiffID(Method):
    """loss = −α · CE(U) + β · CE(R)."""

    name: ClassVar[str] = "grad-diff-id"
    formula: ClassVar[str] = "−α · CE(U) + β · CE(R)"
    source: ClassVar[str] = "baseline of arXiv 2407.01920, section 4.1; GradDiff, Liu et al. 2022, arXiv 2203.12817"
    known_for: ClassVar[str] = "Published (7B, privacy, Llama-2): Unlearn Success 90.4, Retention Success 66.0."
    mixes: ClassVar[bool] = True
    forget_weight: float = setting(1.0, "weight of the ascent on U", low=0.0, high=1000.0, tune=(0.3, 3.0))
    retain_weight: float = setting(1.0, "weight of the descent on R", low=0.0, high=1000.0, tune=(0.3, 10.0))

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted difference of the two cross-entropies."""
        forget, kept = context.forget, context.retain
        return self.retain_weight * kept.average(kept.loss()) - self.forget_weight * forget.average(forget.loss())
