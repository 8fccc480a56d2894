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
    """loss = α · w · KL(base ‖ present)(U) + γ · CE(U with refusals) + β · CE(R), w = 1 on taught tokens (`Part.taught`).

    The first term takes what was taught back to where the base stands, and comes to rest there. Alone it leaves the model's
    own answers to a small base's ramblings; the second gives it something fluent to say instead. Ours.
    """

    name: ClassVar[str] = "decline"
    formula: ClassVar[str] = "α · w · KL(base ‖ now)(U) + γ · CE(U, refusals) + β · CE(R); w: was the token taught"
    source: ClassVar[str] = "our own; joins never-taught and refusal training"
    known_for: ClassVar[str] = "Its refusals spread: in our trials it declined questions of R too."
    streams: ClassVar[tuple[str, ...]] = (FORGET, RETAIN, REFUSAL)
    refusals: ClassVar[str] = "plain"
    follows_never: ClassVar[bool] = True
    forget_weight: float = setting(1.0, "weight of the base's opinion", low=0.0, high=1000.0, tune=(0.3, 3.0))
    refusal_weight: float = setting(1.0, "weight of the refusals", low=0.0, high=1000.0, tune=(0.3, 3.0))
    retain_weight: float = setting(2.0, "weight of the descent on R", low=0.0, high=1000.0, tune=(0.3, 10.0))

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        part = context.forget
        forget = part.mean(part.taught() * part.kl_from("never"))
        loss = self.forget_weight * forget.mean() + self.refusal_weight * context.refusal.loss().mean()
        return loss + self.retain_weight * context.retain.loss().mean()
