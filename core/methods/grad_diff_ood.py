"""Gradient ascent on U with descent on general text (out of distribution)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import FORGET, GENERAL, Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class GradDiffOOD(Method):
    """loss = −α · CE(U) + β · CE(general text)."""

    name: ClassVar[str] = "grad-diff-ood"
    formula: ClassVar[str] = "−α · CE(U) + β · CE(general text)"
    source: ClassVar[str] = "baseline of arXiv 2407.01920, section 4.1; GradDiff, Liu et al. 2022, arXiv 2203.12817"
    known_for: ClassVar[str] = (
        "Published (7B, privacy, Llama-2): Unlearn Success 97.7, Retention Success 2.4: general text does not keep R."
    )
    streams: ClassVar[tuple[str, ...]] = (FORGET, GENERAL)
    mixes: ClassVar[bool] = True
    forget_weight: float = setting(1.0, "weight of the ascent on U", low=0.0, high=1000.0, tune=(0.3, 3.0))
    retain_weight: float = setting(1.0, "weight of the descent on general text", low=0.0, high=1000.0, tune=(0.3, 10.0))

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted difference of the two cross-entropies."""
        forget, kept = context.forget, context.general
        return self.retain_weight * kept.average(kept.loss()) - self.forget_weight * forget.average(forget.loss())
