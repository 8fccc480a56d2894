"""SURE: only the neurons with the largest forget gradient move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import FORGET, Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class SURE(Method):
    """loss = −α · CE(U) + β · CE(R); of each tensor only the rows with the largest gradient of CE(U) are trained.

    The published method ranks the neurons of whole weight matrices; here they are the rows of each adapter tensor.
    """

    name: ClassVar[str] = "sure"
    formula: ClassVar[str] = "−α · CE(U) + β · CE(R), rows with the largest ‖∂CE(U)‖ only"
    source: ClassVar[str] = "Zhang et al. 2024, Catastrophic Failure of LLM Unlearning via Quantization, arXiv 2410.16454"
    known_for: ClassVar[str] = (
        "Its abstract, of methods that keep utility: 21 % of the forgotten knowledge remains, 83 % after 4-bit "
        "quantization; "
        "this one is made to mitigate that."
    )
    forget_weight: float = setting(1.0, "weight of the ascent on U", low=0.0, high=1000.0)
    retain_weight: float = setting(1.0, "weight of the descent on R", low=0.0, high=1000.0, tune=(0.3, 10.0))
    share: float = setting(
        0.05, "rows of each tensor that are trained, at least one", unit="fraction", low=0.001, high=1.0, source="1 to 10 %"
    )

    def prepare(self, context: Context) -> None:
        """Rank the rows once."""
        for name, gradient in context.gradient(FORGET).items():
            norms = gradient.flatten(1).norm(dim=1)
            rows = norms.topk(max(1, round(self.share * len(norms)))).indices
            context.memory[f"rows of {name}"] = norms.new_zeros(len(norms), 1).index_fill_(0, rows, 1.0)

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted difference of the two cross-entropies."""
        return self.retain_weight * context.retain.loss().mean() - self.forget_weight * context.forget.loss().mean()

    def mask(self, context: Context, name: str, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the chosen rows."""
        return gradient * context.memory[f"rows of {name}"]
