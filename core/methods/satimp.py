"""SatImp: gradient ascent, weighted by saturation and importance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class SatImp(Method):
    """loss = −α · mean(p^β₁ (1 − p)^β₂ · CE)(U) + γ · CE(R); the weight has no gradient.

    The mean is over all tokens of the batch, so long answers count more (open-unlearning, src/trainer/utils.py:118-134).
    """

    name: ClassVar[str] = "satimp"
    formula: ClassVar[str] = "−α · p^β₁ · (1 − p)^β₂ · CE(U) + γ · CE(R)"
    source: ClassVar[str] = "Yang et al. 2025, Exploring Criteria of Loss Reweighting, arXiv 2505.11953"
    known_for: ClassVar[str] = (
        "Its abstract: weighting by saturation forgets more effectively than weighting by importance, both "
        "together more still. "
        "On a token that is certain (p = 1) the weight is 0, so what is known by heart moves slowly."
    )
    forget_weight: float = setting(
        1.0, "weight of the forget loss", low=0.0, high=1000.0, source="released settings: 0.1", tune=(0.1, 10.0)
    )
    retain_weight: float = setting(
        1.0, "weight of the descent on R", low=0.0, high=1000.0, source="released settings: 1", tune=(0.01, 10.0)
    )
    beta1: float = setting(5.0, "power of p: saturation", low=0.0, high=100.0, source="released code: 5", tune=(1.0, 10.0))
    beta2: float = setting(
        1.0, "power of 1 − p: importance", low=0.0, high=100.0, source="released code: 1", tune=(0.3, 3.0)
    )

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        part = context.forget
        p = (-part.nll.detach()).exp()
        forget = p**self.beta1 * (1 - p) ** self.beta2 * part.nll
        return self.retain_weight * context.retain.loss().mean() - self.forget_weight * forget.mean()
