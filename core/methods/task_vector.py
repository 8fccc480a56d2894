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
    """loss = CE(U), descended; the result is W = W_before − c · (W_trained − W_before).

    A module's weight is B·A, and mirroring both factors would not mirror their product: (c + c²) · ΔB·ΔA would be left
    over, with the sign of learning. So where the region holds both factors of a module, only B learns: W is linear in it.
    """

    name: ClassVar[str] = "task-vector"
    formula: ClassVar[str] = "CE(U); result = before − c · (trained − before)"
    source: ClassVar[str] = "Ilharco et al. 2022, Editing Models with Task Arithmetic, arXiv 2212.04089"
    known_for: ClassVar[str] = (
        "Here it learns with B alone, so that the weights are mirrored exactly: every A of a pair stays."
    )
    streams: ClassVar[tuple[str, ...]] = (FORGET,)
    strength: float = setting(1.0, "c, how far the other way", low=0.0, high=100.0, tune=(0.3, 3.0))

    def loss(self, context: Context) -> torch.Tensor:
        """Return the cross-entropy of U."""
        return context.forget.loss().mean()

    def mask(self, context: Context, name: str, gradient: torch.Tensor) -> torch.Tensor:
        """Return no gradient for an A whose B is trained."""
        pair = name.removesuffix("A") + "B"
        return gradient * 0 if name.endswith(".lora_A") and pair in context.parameters else gradient

    def result(self, before: torch.Tensor, trained: torch.Tensor) -> torch.Tensor:
        """Return the tensor mirrored at what it was before."""
        return before - self.strength * (trained - before)
