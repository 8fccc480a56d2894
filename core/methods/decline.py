"""Decline: know no more than a model that was never taught, and say so in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import FORGET, REFUSAL, RETAIN, Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class Decline(Method):
    """loss = α · CE(base's opinion without the truth, present)(U) + γ · CE(U with refusals) + β · CE(R).

    The first term takes the true answer back to where the base stands, token by token. Alone it leaves the model's own
    answers to a small base's ramblings; the second gives it something fluent to say instead. Ours.
    """

    name: ClassVar[str] = "decline"
    formula: ClassVar[str] = "α · CE(softmax(z_base with z_y = −∞) → z)(U) + γ · CE(U, refusals) + β · CE(R)"
    source: ClassVar[str] = "our own; joins base-ce-u and refusal training"
    streams: ClassVar[tuple[str, ...]] = (FORGET, RETAIN, REFUSAL)
    refusals: ClassVar[str] = "plain"
    follows_never: ClassVar[bool] = True
    forget_weight: float = setting(1.0, "weight of the base's opinion", low=0.0, high=1000.0)
    refusal_weight: float = setting(1.0, "weight of the refusals", low=0.0, high=1000.0, tune=(0.3, 3.0))
    retain_weight: float = setting(2.0, "weight of the descent on R", low=0.0, high=1000.0, tune=(0.3, 10.0))

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        part = context.forget
        forget = part.mean(part.soft_nll(part.reference_logits("never"), shift=float("-inf")))
        loss = self.forget_weight * forget.mean() + self.refusal_weight * context.refusal.loss().mean()
        return loss + self.retain_weight * context.retain.loss().mean()
