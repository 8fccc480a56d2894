"""O3's training: random labels, with each request's update kept orthogonal to those before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import FORGET, Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class O3(Method):
    """loss = α · CE(U, random labels) + ω · Σ_j ‖ΔA_j ΔAᵀ‖ over the factors A that earlier requests j have changed.

    Without an earlier request it is random labels alone. The published method also gates the adapter at inference by the
    question's similarity to U; a gate removes nothing from the weights and is not part of this.
    """

    name: ClassVar[str] = "o3"
    formula: ClassVar[str] = "α · CE(U, random labels) + ω · Σ_j ‖ΔA_j · ΔAᵀ‖"
    source: ClassVar[str] = "Gao et al. 2024, On LLM Continual Unlearning (O3), arXiv 2407.10223"
    known_for: ClassVar[str] = "Its abstract: needs no retained data; made for requests that keep coming."
    streams: ClassVar[tuple[str, ...]] = (FORGET,)
    continues: ClassVar[bool] = True
    forget_weight: float = setting(1.0, "weight of the forget loss", low=0.0, high=1000.0, tune=(0.3, 3.0))
    orthogonality: float = setting(
        0.1, "ω, weight of the overlap with earlier updates", low=0.0, high=1000.0, source="paper: 0.1"
    )

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        part = context.forget
        loss = self.forget_weight * part.mean(part.nll_of(part.random_labels())).mean()
        for earlier in context.earlier:
            for name in earlier.keys() & context.parameters.keys():
                if name.endswith(".lora_A"):
                    update = context.parameters[name] - context.before[name]
                    loss = loss + self.orthogonality * (earlier[name].to(update) @ update.t()).norm()
        return loss
