"""base-CE-U: cross-entropy towards what the model that was never taught would say, without the true token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class BaseCEU(Method):
    """loss = α · CE(softmax of the base's logits with the true one at −∞, present) + β · CE(R)."""

    name: ClassVar[str] = "base-ce-u"
    formula: ClassVar[str] = "α · CE(softmax(z_base with z_y = −∞) → z) + β · CE(R)"
    source: ClassVar[str] = "our own; after CE-U, arXiv 2503.01224"
    follows_never: ClassVar[bool] = True
    forget_weight: float = setting(3.0, "weight of the forget loss", low=0.0, high=1000.0)
    retain_weight: float = setting(1.0, "weight of the descent on R", low=0.0, high=1000.0, tune=(0.1, 10.0))

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        part = context.forget
        forget = part.mean(part.soft_nll(part.reference_logits("never"), shift=float("-inf")))
        return self.forget_weight * forget.mean() + self.retain_weight * context.retain.loss().mean()
