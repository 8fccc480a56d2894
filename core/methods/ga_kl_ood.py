"""Gradient ascent on U, held near the model before on general text (out of distribution)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import FORGET, GENERAL, Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class AscentKLOOD(Method):
    """loss = −α · CE(U) + β · KL(before ‖ now) over the answer positions of general text.

    The paper's released code sums a cross-entropy over padding and prompt instead; this is the divergence it names.
    """

    name: ClassVar[str] = "ga-kl-ood"
    formula: ClassVar[str] = "−α · CE(U) + β · KL(before ‖ now)(general text)"
    source: ClassVar[str] = "baseline of arXiv 2407.01920, section 4.1; Yao et al. 2024, arXiv 2402.15159"
    known_for: ClassVar[str] = "Published (7B, privacy, Llama-2): Unlearn Success 94.2, Retention Success 4.3."
    streams: ClassVar[tuple[str, ...]] = (FORGET, GENERAL)
    mixes: ClassVar[bool] = True
    forget_weight: float = setting(1.0, "weight of the ascent on U", low=0.0, high=1000.0, tune=(0.3, 3.0))
    retain_weight: float = setting(1.0, "weight of the divergence on general text", low=0.0, high=1000.0, tune=(0.3, 10.0))

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        forget, kept = context.forget, context.general
        held = kept.average(kept.mean(kept.kl_from("before")))
        return self.retain_weight * held - self.forget_weight * forget.average(forget.loss())
