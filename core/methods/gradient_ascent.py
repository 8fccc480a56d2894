"""Gradient ascent: the oldest baseline, without any care for what should be kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import FORGET, Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class GradientAscent(Method):
    """loss = −forget_weight · CE(U). Source: arXiv 2407.01920, section 4.1 (baseline)."""

    name: ClassVar[str] = "gradient-ascent"
    formula: ClassVar[str] = "−α · CE(U)"
    source: ClassVar[str] = "baseline of arXiv 2407.01920, section 4.1"
    known_for: ClassVar[str] = (
        "Published (7B, privacy, Llama-2): Unlearn Success 96.6, Retention Success 2.5. "
        "Collapses, and its outputs are often gibberish (abstract of arXiv 2404.05868)."
    )
    streams: ClassVar[tuple[str, ...]] = (FORGET,)
    forget_weight: float = setting(1.0, "weight of the ascent on U", low=0.0, high=1000.0)

    def loss(self, context: Context) -> torch.Tensor:
        """Return the negated cross-entropy of the unlearn batch."""
        return -self.forget_weight * context.forget.loss().mean()
