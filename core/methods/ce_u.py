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

    The released code leaves an answer's first token alone and has no R; here all tokens count, and β = 0 is without R.
    """

    name: ClassVar[str] = "ce-u"
    formula: ClassVar[str] = "α · CE(softmax(z with z_y = −∞) → z) + β · CE(R)"
    source: ClassVar[str] = "Yang 2025, CE-U: Cross Entropy Unlearning, arXiv 2503.01224"
    known_for: ClassVar[str] = (
        "Its abstract: mends gradient ascent, whose gradient vanishes where the model is sure and explodes where it is not."
    )
    forget_weight: float = setting(1.0, "weight of the forget loss", low=0.0, high=1000.0)
    retain_weight: float = setting(
        2.0, "weight of the descent on R", low=0.0, high=1000.0, source="released code: 0", tune=(0.3, 10.0)
    )

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        part = context.forget
        forget = part.mean(part.soft_nll(part.logits, shift=float("-inf")))
        return self.forget_weight * forget.mean() + self.retain_weight * context.retain.loss().mean()
