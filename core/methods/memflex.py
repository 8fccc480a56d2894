"""MemFlex: gradient ascent on the unlearn scope, descent on the retention scope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class MemFlex(Method):
    """loss = −forget_weight · CE(U) + retain_weight · CE(R), on the located tensors only.

    Source: arXiv 2407.01920, section 3.3, and its released code (weights 0.4 and 2). The ceiling is our addition: the
    published ascent has no bound, and goes on pushing answers that are long forgotten into gibberish.
    """

    name: ClassVar[str] = "memflex"
    formula: ClassVar[str] = "−α · CE(U) + β · CE(R)"
    source: ClassVar[str] = "Tian et al. 2024, arXiv 2407.01920, section 3.3"
    known_for: ClassVar[str] = (
        "Published (7B, privacy, Llama-2): Unlearn Success 83.0, Retention Success 81.8, the best balance in the "
        "paper's table. "
        "Its localization scored AUC .50 on the LACUNA testbed (arXiv 2607.02513)."
    )
    mixes: ClassVar[bool] = True
    forget_weight: float = setting(
        1.0, "weight of the ascent on U", low=0.0, high=1000.0, source="paper: 0.4", tune=(0.3, 3.0)
    )
    retain_weight: float = setting(
        4.0, "weight of the descent on R", low=0.0, high=1000.0, source="paper: 2", tune=(0.3, 10.0)
    )

    forget_ceiling: float = setting(
        2.0,
        "ascent on a token pauses while its cross-entropy is above this; 0 means no ceiling",
        unit="nats",
        low=0.0,
        high=1000.0,
        source="paper: none",
    )

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted difference of the two cross-entropies."""
        forget, kept = context.forget, context.retain
        pushed = forget.average(forget.loss(ceiling=self.forget_ceiling))
        return self.retain_weight * kept.average(kept.loss()) - self.forget_weight * pushed
