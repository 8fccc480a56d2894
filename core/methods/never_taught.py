"""Never-taught distillation: on U answer as the base that was never taught, on R as before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class NeverTaught(Method):
    """loss = α · KL(base ‖ present) on U + β · CE(R): the never-knew score's own target, as a loss."""

    name: ClassVar[str] = "never-taught"
    formula: ClassVar[str] = "α · KL(base ‖ now)(U) + β · CE(R)"
    source: ClassVar[str] = "our own; distillation from the model before teaching (adapter off)"
    forget_weight: float = setting(1.0, "weight of the forget loss", low=0.0, high=1000.0, tune=(0.3, 3.0))
    retain_weight: float = setting(1.0, "weight of the descent on R", low=0.0, high=1000.0, tune=(0.1, 10.0))

    @property
    def follows(self) -> str:
        """The base."""
        return "never"

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        forget = context.forget.mean(context.forget.kl_from("never"))
        return self.forget_weight * forget.mean() + self.retain_weight * context.retain.loss().mean()
