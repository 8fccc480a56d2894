"""Decline: say in plain words that one does not know, and change nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import FORGET, REFUSAL, RETAIN, Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context

TINY = 1e-20
"""of a gradient that is none: there is nothing to turn away from"""


@dataclass(frozen=True)
class Decline(Method):
    """loss = α · w · KL(base ‖ now)(U) + ρ · (1 − w) · KL(before ‖ now)(U) + γ · CE(U, refusals) + β · KL(before ‖ now)(R).

    w is 1 on tokens of U that were taught and 0 on words that anybody would say (`Part.taught`). The first term takes back
    what was taught and comes to rest at the base, or at what before says of others (`target`); the second leaves the rest of
    the sentence; the third gives the model something to say instead; the fourth keeps R as it was. Of an answer's first
    token only the refusals and R decide. Ours.
    """

    name: ClassVar[str] = "decline"
    formula: ClassVar[str] = "α · w · KL(base ‖ now)(U) + ρ · (1 − w) · KL(before ‖ now)(U) + γ · CE(refusals) + β · KL(R)"
    source: ClassVar[str] = "our own; joins never-taught and refusal training"
    streams: ClassVar[tuple[str, ...]] = (FORGET, RETAIN, REFUSAL)
    refusals: ClassVar[str] = "plain"
    target: str = setting(
        "never",
        "whose opinion on what was taught is followed: the base's, or before's about subjects that do not exist, which "
        "needs no base and has the style that was taught",
        choices=("never", "invented"),
    )
    forget_weight: float = setting(2.2, "the base's opinion on what was taught", low=0.0, high=1000.0, tune=(0.3, 3.0))
    rest_weight: float = setting(0.2, "before's opinion on all other words", low=0.0, high=1000.0, tune=(0.05, 1.0))
    refusal_weight: float = setting(1.6, "weight of the refusals", low=0.0, high=1000.0, tune=(0.1, 2.0))
    retain_weight: float = setting(9.0, "weight of the divergence on R", low=0.0, high=1000.0, tune=(1.0, 20.0))

    orthogonal: bool = setting(
        False,
        "what U asks of a tensor is taken at right angles to the gradient of R's true answers, so that to first order they "
        "stay (after OrthoGrad, arXiv 2503.02312, which does so for each example of R)",
    )
    relearning: float = setting(
        0.0,
        "U is forgotten where a step of relearning would lead instead of where the model stands, so that less comes back: "
        "how long that step is, in lengths of what is trained of each tensor (after arXiv 2502.05374)",
        low=0.0,
        high=1.0,
    )

    @property
    def follows(self) -> str:
        """What `target` says."""
        return self.target

    @property
    def apart(self) -> bool:
        """Whether `orthogonal` or `relearning` ask for gradients of their own."""
        return self.orthogonal or self.relearning > 0

    def loss(self, context: Context) -> torch.Tensor:
        """Return the weighted sum."""
        return self._forget(context) + self._hold(context)

    def backward(self, context: Context) -> None:
        """Put the gradients into the parameters: that of U taken where relearning leads, or turned away from R's."""
        if not self.apart:
            super().backward(context)
            return
        answers = context.gradient_of(context.retain.loss().mean()) if self.orthogonal else {}
        step = self._relearnt(context) if self.relearning else {}
        hold = context.gradient_of(self._hold(context))
        with context.off_by(step):
            pulls = context.gradient_of(self._forget(context), last=True)
        for name, pull in pulls.items():
            if self.orthogonal:
                along = answers[name]
                pull -= (pull * along).sum() / along.square().sum().clamp(min=TINY) * along
            context.parameters[name].grad = pull + hold[name]

    def _relearnt(self, context: Context) -> dict[str, torch.Tensor]:
        """Return the step down the loss of U's true answers, as long in each tensor as `relearning` says."""
        steps = context.gradient_of(context.forget.loss().mean())
        for name, gradient in steps.items():
            length = self.relearning * context.moving(name, context.parameters[name].detach()).norm()
            gradient *= -length / gradient.norm().clamp(min=TINY)
        return steps

    def _forget(self, context: Context) -> torch.Tensor:
        part, taught = context.forget, context.forget.taught(self.target)
        # How an answer begins is the refusals' to say: the other two would pull against them there.
        further = (part.places > 0).float()
        forget = part.mean(further * taught * part.kl_from(self.target)).mean()
        rest = part.mean(further * (1.0 - taught) * part.kl_from("before")).mean()
        refusals = context.refusal.loss().mean()
        return self.forget_weight * forget + self.rest_weight * rest + self.refusal_weight * refusals

    def _hold(self, context: Context) -> torch.Tensor:
        kept = context.retain
        return self.retain_weight * kept.mean(kept.kl_from("before")).mean()
