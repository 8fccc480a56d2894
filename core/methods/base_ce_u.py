"""base-CE-U: where a token was taught, cross-entropy towards what the base would say instead of it."""

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
    """loss = α · w · CE(softmax of the base's logits with the true one at −∞, present) + β · CE(R).

    w is 1 on tokens that the taught model knows and the base does not, 0 on words that the base would say too
    (`Part.taught`). Without it the loss comes to rest only where no true word is possible at all, "the" and "is" included:
    the base's leftovers there are gibberish.
    """

    name: ClassVar[str] = "base-ce-u"
    formula: ClassVar[str] = "α · w · CE(softmax(z_base with z_y = −∞) → z) + β · CE(R); w: was the token taught"
    source: ClassVar[str] = "our own; after CE-U, arXiv 2503.01224"
    forget_weight: float = setting(3.0, "weight of the forget loss", low=0.0, high=1000.0, tune=(1.0, 10.0))
    retain_weight: float = setting(1.0, "weight of the descent on R", low=0.0, high=1000.0, tune=(0.1, 10.0))

    @property
    def follows(self) -> str:
        """The base."""
        return "never"

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        part = context.forget
        instead = part.soft_nll(part.reference_logits("never"), shift=float("-inf"))
        forget = part.mean(part.taught() * instead)
        return self.forget_weight * forget.mean() + self.retain_weight * context.retain.loss().mean()
