"""Task-vector negation: learn U once more, then take the step away from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import FORGET, Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class TaskVector(Method):
    """loss = CE(U), descended; the result is before − c · (trained − before), factor by factor."""

    name: ClassVar[str] = "task-vector"
    formula: ClassVar[str] = "CE(U); result = before − c · (trained − before)"
    source: ClassVar[str] = "Ilharco et al. 2022, Editing Models with Task Arithmetic, arXiv 2212.04089"
    streams: ClassVar[tuple[str, ...]] = (FORGET,)
    strength: float = setting(1.0, "c, how far the other way", low=0.0, high=100.0, tune=(0.3, 3.0))

    def loss(self, context: Context) -> torch.Tensor:
        """Return the cross-entropy of U."""
        return context.forget.loss().mean()

    def result(self, before: torch.Tensor, trained: torch.Tensor) -> torch.Tensor:
        """Return the tensor mirrored at what it was before."""
        return before - self.strength * (trained - before)
