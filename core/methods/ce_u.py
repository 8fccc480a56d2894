"""CE-U: cross-entropy towards the model's own opinion without the true token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.context import Context


@dataclass(frozen=True)
class CEU(Method):
    """loss = α · CE(softmax of the present logits with the true one at −∞, present) + β · CE(R)."""

    name: ClassVar[str] = "ce-u"
    formula: ClassVar[str] = "α · CE(softmax(z with z_y = −∞) → z) + β · CE(R)"
    source: ClassVar[str] = "Yang 2025, CE-U: Cross Entropy Unlearning, arXiv 2503.01224"
    forget_weight: float = setting(1.0, "weight of the forget loss", low=0.0, high=1000.0)
    retain_weight: float = setting(2.0, "weight of the descent on R", low=0.0, high=1000.0)

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        part = context.forget
        target = without_truth(part.logits.detach(), part.targets)
        forget = part.mean(soft_cross_entropy(target, part.logits))
        return self.forget_weight * forget.mean() + self.retain_weight * context.retain.loss().mean()


def without_truth(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return (N, V) logits, as float32, in which each row's true token is impossible."""
    return logits.float().scatter(1, targets[:, None], float("-inf"))


def soft_cross_entropy(target: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Return −Σ softmax(target) log softmax(logits) for (N, V) logits each: (N,)."""
    now = logits.float()
    return now.logsumexp(-1) - (target.softmax(-1) * now).sum(-1)
