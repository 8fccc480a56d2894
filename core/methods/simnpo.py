"""SimNPO: NPO without a reference, per token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class SimNPO(Method):
    """loss = −α · (2/β) log σ(β (NLL / length − δ)) + γ · CE(R)."""

    name: ClassVar[str] = "simnpo"
    formula: ClassVar[str] = "−α · (2/β) · log σ(β · (CE(U) − δ)) + γ · CE(R)"
    source: ClassVar[str] = "Fan et al. 2024, Simplicity Prevails, arXiv 2410.07163"
    known_for: ClassVar[str] = (
        "Its abstract: without a reference model it avoids that model's bias towards answers of unlike difficulty."
    )
    forget_weight: float = setting(
        0.125, "weight of the forget loss", low=0.0, high=1000.0, source="published for TOFU: 0.125", tune=(0.05, 3.0)
    )
    retain_weight: float = setting(1.0, "weight of the descent on R", low=0.0, high=1000.0, tune=(0.3, 10.0))
    beta: float = setting(
        4.5, "steepness of the preference", low=1e-4, high=100.0, source="published for TOFU: 4.5", tune=(1.0, 6.0)
    )
    delta: float = setting(
        0.0,
        "loss per token above which the push lets go",
        unit="nats",
        low=0.0,
        high=100.0,
        source="published for TOFU: 0",
        tune=(0.0, 2.0, "linear"),
    )

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        forget = context.forget.preference(context.forget.loss() - self.delta, self.beta)
        return self.forget_weight * forget.mean() + self.retain_weight * context.retain.loss().mean()
