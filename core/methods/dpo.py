"""DPO (IdkDPO): a refusal is preferred to the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import FORGET, REFUSAL, RETAIN, Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class DPO(Method):
    """loss = −α · (2/β) log σ(β (Δ_refusal − Δ_answer)) + γ · CE(R); Δ = log p − log p_before, summed over an answer."""

    name: ClassVar[str] = "dpo"
    formula: ClassVar[str] = "−α · (2/β) · log σ(β · (Δ_refusal − Δ_answer)) + γ · CE(R)"
    source: ClassVar[str] = (
        "Rafailov et al. 2023, arXiv 2305.18290; for refusals as in TOFU, arXiv 2401.06121, and NPO, arXiv 2404.05868"
    )
    streams: ClassVar[tuple[str, ...]] = (FORGET, REFUSAL, RETAIN)
    refusals: ClassVar[str] = "plain"
    forget_weight: float = setting(1.0, "weight of the forget loss", low=0.0, high=1000.0, tune=(0.3, 3.0))
    retain_weight: float = setting(1.0, "weight of the descent on R", low=0.0, high=1000.0, tune=(0.3, 30.0))
    beta: float = setting(
        0.1,
        "how far from before the push lets go: larger stops earlier",
        low=1e-4,
        high=100.0,
        source="NPO: 0.1",
        tune=(0.03, 1.0),
    )

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        answer, refusal = (part.sum(part.reference_nll("before") - part.nll) for part in (context.forget, context.refusal))
        forget = context.forget.preference(refusal - answer, self.beta)
        return self.forget_weight * forget.mean() + self.retain_weight * context.retain.loss().mean()
