"""UNDIAL: distil the model before, with the true token's logit lowered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class UNDIAL(Method):
    """loss = α · CE(softmax(z_before − β · onehot(y)) → now)(U) + γ · CE(R)."""

    name: ClassVar[str] = "undial"
    formula: ClassVar[str] = "α · CE(softmax(z_before − β · onehot(y)) → z)(U) + γ · CE(R)"
    source: ClassVar[str] = "Dong et al. 2024, UNDIAL, arXiv 2402.10052"
    known_for: ClassVar[str] = (
        "Its abstract: smooth convergence and stable training, where methods that maximise a loss over-unlearn."
    )
    forget_weight: float = setting(1.0, "weight of the forget loss", low=0.0, high=1000.0, tune=(0.3, 3.0))
    retain_weight: float = setting(
        1.0, "weight of the descent on R", low=0.0, high=1000.0, source="published: 0", tune=(0.3, 10.0)
    )
    beta: float = setting(
        10.0,
        "how much the true token's logit is lowered",
        low=0.0,
        high=1000.0,
        source="released code: 10",
        tune=(3.0, 30.0),
    )

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        part = context.forget
        forget = part.mean(part.soft_nll(part.reference_logits("before"), shift=-self.beta))
        return self.forget_weight * forget.mean() + self.retain_weight * context.retain.loss().mean()
