"""PDU: flatten the logits on U under a limit for the loss on R, by a primal-dual method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class PDU(Method):
    """loss = α · mean((max z − mean z)²)(U) + λ · (CE(R) − ε). After each step λ grows by η · (CE(R) − ε), never below 0.

    The first mean is over all tokens of the batch (open-unlearning, src/trainer/unlearn/pdu.py:112-122). There λ rests for
    five passes over the data (configs/trainer/PDU.yaml); most runs here make fewer, so it moves at once.
    """

    name: ClassVar[str] = "pdu"
    formula: ClassVar[str] = "α · (max z − mean z)²(U) + λ · (CE(R) − ε), λ ← max(0, λ + η · (CE(R) − ε))"
    source: ClassVar[str] = "Entesari et al. 2025, Constrained Entropic Unlearning, arXiv 2506.05314"
    known_for: ClassVar[str] = (
        "Its abstract: retention is a constraint, and the loss on U needs no softmax and keeps its gradient."
    )
    forget_weight: float = setting(0.01, "weight of the forget loss", low=0.0, high=1000.0, tune=(0.001, 0.1))
    retain_weight: float = setting(1.0, "λ at the beginning", low=0.0, high=1000.0, tune=(0.3, 10.0))
    retain_limit: float = setting(
        0.1, "ε, the loss on R that is allowed", unit="nats", low=0.0, high=100.0, tune=(0.03, 1.0)
    )
    dual_rate: float = setting(1.0, "η, how fast λ follows", low=0.0, high=1000.0, source="released code: 1")

    def loss(self, context: Context) -> torch.Tensor:
        """Return the Lagrangian."""
        part = context.forget
        kept = context.retain.loss().mean()
        context.memory["above the limit"] = float(kept.detach()) - self.retain_limit
        margin = part.logits.amax(-1).float() - part.logits.float().mean(-1)
        weight = context.memory.setdefault("λ", self.retain_weight)
        return self.forget_weight * margin.square().mean() + weight * (kept - self.retain_limit)

    def update(self, context: Context) -> None:
        """Move λ towards the limit."""
        context.memory["λ"] = max(0.0, context.memory["λ"] + self.dual_rate * context.memory["above the limit"])
