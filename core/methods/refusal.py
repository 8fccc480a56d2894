"""Refusal training: answer the questions of U with a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import REFUSAL, RETAIN, Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class Refusal(Method):
    """loss = α · CE(U with refusals) + β · CE(R). Refusals are plain ones (core/data/refusals.py)."""

    name: ClassVar[str] = "refusal"
    formula: ClassVar[str] = "α · CE(U, refusals) + β · CE(R)"
    source: ClassVar[str] = "IDK baseline of TOFU, Maini et al. 2024, arXiv 2401.06121"
    streams: ClassVar[tuple[str, ...]] = (REFUSAL, RETAIN)
    refusals: ClassVar[str] = "plain"
    forget_weight: float = setting(1.0, "weight of the forget loss", low=0.0, high=1000.0, tune=(0.3, 3.0))
    retain_weight: float = setting(1.0, "weight of the descent on R", low=0.0, high=1000.0, tune=(0.3, 10.0))

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        return self.forget_weight * context.refusal.loss().mean() + self.retain_weight * context.retain.loss().mean()
