"""SURE: only the neurons with the largest forget gradient move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class SURE(Method):
    """loss = −α · CE(U) + β · CE(R); only the rows with the largest gradient of CE(U) follow it, chosen anew each step.

    A row of an adapter tensor is a neuron, and all are ranked together, on the batch (zjunlp/unlearn,
    baselines/src/sure_trainer.py:221-247). That code leaves the gradient it ranks by in place, where it cancels the ascent;
    here it is cleared.
    """

    name: ClassVar[str] = "sure"
    formula: ClassVar[str] = "−α · CE(U) + β · CE(R), rows with the largest ‖∂CE(U)‖ of the step only"
    source: ClassVar[str] = "Zhang et al. 2024, Catastrophic Failure of LLM Unlearning via Quantization, arXiv 2410.16454"
    known_for: ClassVar[str] = (
        "Its abstract, of methods that keep utility: 21 % of the forgotten knowledge remains, 83 % after 4-bit "
        "quantization; "
        "this one is made to mitigate that."
    )
    forget_weight: float = setting(1.0, "weight of the ascent on U", low=0.0, high=1000.0, tune=(0.3, 3.0))
    retain_weight: float = setting(1.0, "weight of the descent on R", low=0.0, high=1000.0, tune=(0.3, 10.0))
    share: float = setting(
        0.05,
        "rows that a step moves, of all in the region",
        unit="fraction",
        low=0.001,
        high=1.0,
        source="code: 1 to 10 %",
        tune=(0.01, 0.1),
    )

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted difference of the two cross-entropies."""
        return self.retain_weight * context.retain.loss().mean() - self.forget_weight * context.forget.loss().mean()

    def backward(self, context: Context) -> None:
        """Rank the rows by the forget gradient alone, then take that of the whole loss."""
        import torch

        found = torch.autograd.grad(
            context.forget.loss().mean(), list(context.parameters.values()), retain_graph=True, materialize_grads=True
        )
        free = {name: context.moving(name, gradient) for name, gradient in zip(context.parameters, found, strict=True)}
        norms = {name: gradient.flatten(1).norm(dim=1) for name, gradient in free.items()}
        limit = float(torch.cat([row.cpu() for row in norms.values()]).quantile(1 - self.share))
        context.memory["rows"] = {name: row >= limit for name, row in norms.items()}
        self.loss(context).backward()

    def mask(self, context: Context, name: str, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the chosen rows."""
        free = context.moving(name, gradient)
        free.mul_(context.memory["rows"][name][:, None])
        return gradient
