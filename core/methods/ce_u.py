"""CE-U: cross-entropy towards the model's own opinion without the true token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class CEU(Method):
    """loss = α · CE(softmax of the present logits with the true one at −∞, present) + β · CE(R).

    Averaged over the tokens of the batch, without the first of each answer, as in the paper's footnote and its code
    (open-unlearning, src/trainer/unlearn/ceu.py:56-81), which has no R: β = 0.
    """

    name: ClassVar[str] = "ce-u"
    formula: ClassVar[str] = "α · CE(softmax(z with z_y = −∞) → z) + β · CE(R)"
    source: ClassVar[str] = "Yang 2025, CE-U: Cross Entropy Unlearning, arXiv 2503.01224"
    known_for: ClassVar[str] = (
        "Its abstract: mends gradient ascent, whose gradient vanishes where the model is sure and explodes where it is not."
    )
    exempt: int = setting(
        1, "tokens at the beginning of each answer that are left alone", low=0, high=100, source="paper: 1"
    )
    forget_weight: float = setting(1.0, "weight of the forget loss", low=0.0, high=1000.0, tune=(0.3, 3.0))
    retain_weight: float = setting(
        2.0, "weight of the descent on R", low=0.0, high=1000.0, source="released code: 0", tune=(0.3, 10.0)
    )

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        part = context.forget
        counted = part.soft_nll(part.logits, shift=float("-inf"))[part.places >= self.exempt]
        forget = counted.sum() / max(1, len(counted))
        return self.forget_weight * forget + self.retain_weight * context.retain.loss().mean()
