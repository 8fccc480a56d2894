"""NPO: the answers of U are dispreferred against the model before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class NPO(Method):
    """loss = −α · (2/β) log σ(β (NLL − NLL_before)) + γ · CE(R); NLL sums over an answer's tokens, as published."""

    name: ClassVar[str] = "npo"
    formula: ClassVar[str] = "−α · (2/β) · log σ(β · (NLL(U) − NLL_before(U))) + γ · CE(R)"
    source: ClassVar[str] = "Zhang et al. 2024, Negative Preference Optimization, arXiv 2404.05868"
    known_for: ClassVar[str] = (
        "Its abstract: collapse comes exponentially slower than with gradient ascent, and outputs are more sensible. "
        "4-bit quantization brought forgotten text back (MUSE-Books .4 to 66; arXiv 2410.16454)."
    )
    forget_weight: float = setting(1.0, "weight of the forget loss", low=0.0, high=1000.0, tune=(0.3, 3.0))
    retain_weight: float = setting(1.0, "weight of the descent on R", low=0.0, high=1000.0, tune=(0.3, 30.0))
    beta: float = setting(
        0.1,
        "how far from before the push lets go: larger stops earlier",
        low=1e-4,
        high=100.0,
        source="paper: 0.1",
        tune=(0.03, 1.0),
    )

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        part = context.forget
        forget = part.preference(part.sum(part.nll - part.reference_nll("before")), self.beta)
        return self.forget_weight * forget.mean() + self.retain_weight * context.retain.loss().mean()
