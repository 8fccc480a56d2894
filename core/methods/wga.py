"""WGA: gradient ascent, weighted by how probable each token still is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class WGA(Method):
    """loss = −α · mean(p^β · CE)(U) + γ · CE(R); the weight p^β has no gradient.

    The mean is over all tokens of the batch, so long answers count more (open-unlearning, src/trainer/utils.py:102-115).
    """

    name: ClassVar[str] = "wga"
    formula: ClassVar[str] = "−α · p^β · CE(U) + γ · CE(R)"
    source: ClassVar[str] = "Wang et al. 2025, Rethinking LLM Unlearning Objectives, arXiv 2502.19301"
    known_for: ClassVar[str] = "Its paper: made to mitigate the excessive unlearning of gradient ascent."
    forget_weight: float = setting(1.0, "weight of the forget loss", low=0.0, high=1000.0, tune=(0.3, 3.0))
    retain_weight: float = setting(1.0, "weight of the descent on R", low=0.0, high=1000.0, tune=(0.3, 10.0))
    beta: float = setting(
        1.0, "power of the token's probability", low=0.0, high=100.0, source="released code: 1", tune=(0.3, 3.0)
    )

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        part = context.forget
        forget = (-self.beta * part.nll.detach()).exp() * part.nll
        return self.retain_weight * context.retain.loss().mean() - self.forget_weight * forget.mean()
