"""GRAIL: only those elements move whose gradient stands out on U and not on R."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import FORGET, RETAIN, Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class GRAIL(Method):
    """loss = −α · CE(U) + β · CE(R), followed only by elements with a large z(|∂L(U)|) − z(|∂L(R)|).

    L is the cross-entropy towards random labels, as MemFlex ranks: that of answers known by heart is almost 0, and its
    gradient noise. z is the standard score within the tensor. Our reading of the abstract, made without the code.
    """

    name: ClassVar[str] = "grail"
    formula: ClassVar[str] = (
        "−α · CE(U) + β · CE(R), only elements with the largest z(|∂L(U)|) − z(|∂L(R)|); L: random labels"
    )
    source: ClassVar[str] = "Kim et al. 2025, GRAIL, arXiv 2504.12681"
    known_for: ClassVar[str] = (
        "Its abstract: forgets as well as others, with up to 17 % stronger retention. "
        "Which elements the paper takes is not known here: the rule is ours."
    )
    forget_weight: float = setting(1.0, "weight of the ascent on U", low=0.0, high=1000.0, tune=(0.3, 3.0))
    retain_weight: float = setting(1.0, "weight of the descent on R", low=0.0, high=1000.0, tune=(0.3, 10.0))
    share: float = setting(
        0.2, "elements of each tensor that are trained, at least one", unit="fraction", low=0.001, high=1.0
    )

    def prepare(self, context: Context) -> None:
        """Rank the elements once."""
        kept = context.gradient(RETAIN, random=True)
        for name, gradient in context.gradient(FORGET, random=True).items():
            wanted, others = (context.moving(name, each).abs() for each in (gradient, kept[name]))
            score = (_standard(wanted) - _standard(others)).flatten()
            chosen = score.topk(max(1, round(self.share * len(score)))).indices
            elements = context.memory[f"elements of {name}"] = gradient.new_zeros(gradient.shape)
            context.moving(name, elements).copy_(score.new_zeros(len(score)).index_fill_(0, chosen, 1.0).view_as(wanted))

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted difference of the two cross-entropies."""
        return self.retain_weight * context.retain.loss().mean() - self.forget_weight * context.forget.loss().mean()

    def mask(self, context: Context, name: str, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the chosen elements."""
        return gradient * context.memory[f"elements of {name}"]


def _standard(values: torch.Tensor) -> torch.Tensor:
    """Return values as standard scores; zeros where they do not differ."""
    return (values - values.mean()) / values.std().clamp(min=1e-30)
