"""BLADE: repair R first, then forget with the gradient found there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import RETAIN, Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class BLADE(Method):
    """Bilevel, first order: θ follows the gradient of the loss at θ', where θ' is θ after K descent steps on CE(R).

    loss = α · L_f + λ · L_r + ρ/2 · (L_r − ε)² with L_f = −CE(U) and L_r = CE(R). The losses in the curve are those at θ'.
    Made from a summary of the published method (2026), without its text: defaults are ours.
    """

    name: ClassVar[str] = "blade"
    formula: ClassVar[str] = "−α · CE(U) + λ · CE(R) + ρ/2 · (CE(R) − ε)², at θ after K inner steps on CE(R)"
    source: ClassVar[str] = "BLADE (2026), from a summary"
    forget_weight: float = setting(1.0, "weight of the ascent on U", low=0.0, high=1000.0, tune=(0.3, 3.0))
    retain_weight: float = setting(1.0, "weight of the descent on R", low=0.0, high=1000.0, tune=(0.3, 10.0))
    penalty: float = setting(1.0, "ρ, weight of the squared distance to the limit", low=0.0, high=1000.0)
    retain_limit: float = setting(0.05, "ε, the loss on R that is allowed", unit="nats", low=0.0, high=100.0)
    inner_steps: int = setting(
        1, "K, descent steps on R before each step; each costs a pass over the retention batch", low=0, high=20
    )
    inner_rate: float = setting(
        0.1, "rate of the inner steps, plain gradient descent", low=0.0, high=100.0, tune=(0.01, 0.3)
    )
    keep_inner: bool = setting(
        True, "the inner steps stand (θ becomes θ'); off: they only look ahead, and nothing holds R at θ"
    )

    def loss(self, context: Context) -> torch.Tensor:
        """Return the outer loss at the present parameters."""
        kept = context.retain.loss().mean()
        limited = self.retain_weight * kept + self.penalty / 2 * (kept - self.retain_limit) ** 2
        return limited - self.forget_weight * context.forget.loss().mean()

    def backward(self, context: Context) -> None:
        """Make the inner steps and take the outer gradient there; go back if the steps are not to stand."""
        here, members = {name: p.detach().clone() for name, p in context.parameters.items()}, context.members
        stands = False
        try:
            context.load(context.step, {RETAIN: members[RETAIN]})
            for _ in range(self.inner_steps):
                context.retain.loss().mean().backward()
                for name, parameter in context.parameters.items():
                    if parameter.grad is not None:
                        context.still(name, parameter.grad).zero_()
                        parameter.data.sub_(self.inner_rate * parameter.grad)
                        parameter.grad = None
                context.again()
            context.load(context.step, members)
            self.loss(context).backward()
            stands = self.keep_inner
        finally:
            if not stands:  # also where memory ran out: it is done again from the same place
                for name, parameter in context.parameters.items():
                    parameter.data.copy_(here[name])
