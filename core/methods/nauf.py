"""NAUF: refusals that name the subject, and R held near the model before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import REFUSAL, RETAIN, Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class NAUF(Method):
    """loss = α · CE(U with refusals that name the subject) + β · KL(before ‖ now)(R).

    The published method also widens both scopes; that is a setting of the data here (data.widen), for any method.
    """

    name: ClassVar[str] = "nauf"
    formula: ClassVar[str] = "α · CE(U, refusals naming the subject) + β · KL(before ‖ now)(R)"
    source: ClassVar[str] = "Liu et al. 2024, Learning to Refuse, arXiv 2407.10058"
    known_for: ClassVar[str] = "Its abstract: 5.65 points above the best baseline's average unlearning score on RETURN."
    streams: ClassVar[tuple[str, ...]] = (REFUSAL, RETAIN)
    refusals: ClassVar[str] = "named"
    forget_weight: float = setting(1.0, "weight of the forget loss", low=0.0, high=1000.0, tune=(0.3, 3.0))
    retain_weight: float = setting(1.0, "weight of the divergence on R", low=0.0, high=1000.0, tune=(0.3, 10.0))

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        kept = context.retain
        return (
            self.forget_weight * context.refusal.loss().mean()
            + self.retain_weight * kept.mean(kept.kl_from("before")).mean()
        )
