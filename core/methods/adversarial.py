"""Adversarial samples: learn the likeliest wrong answer, token by token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import FORGET, Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class Adversarial(Method):
    """loss = α · CE(U with y* = argmax over a ≠ y of P(a | x, y<i)); P is the model before unlearning, so y* is fixed."""

    name: ClassVar[str] = "adversarial"
    formula: ClassVar[str] = "α · CE(U, likeliest wrong tokens of the model before)"
    source: ClassVar[str] = "baseline of arXiv 2407.01920, section 4.1; Yao et al. 2024, arXiv 2402.15159"
    known_for: ClassVar[str] = (
        "Published (7B, privacy, Llama-2): Unlearn Success 46.2, Retention Success 55.8: it forgets least of the "
        "paper's baselines."
    )
    streams: ClassVar[tuple[str, ...]] = (FORGET,)
    forget_weight: float = setting(1.0, "weight of the forget loss", low=0.0, high=1000.0)

    def loss(self, context: Context) -> torch.Tensor:
        """Return the cross-entropy towards the wrong tokens that were likeliest before."""
        part = context.forget
        wrong = part.once("likeliest wrong tokens", lambda members, true: _wrong(context.reference("before", members), true))
        return self.forget_weight * part.mean(part.nll_of(wrong)).mean()


def _wrong(logits: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Return (N,) the largest logit's token of each row of (N, V), the true one excluded."""
    return logits.scatter(1, true[:, None], float("-inf")).argmax(-1)
