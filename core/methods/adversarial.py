"""Adversarial samples: learn the likeliest wrong answer, token by token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import FORGET, QUESTION, Method
from core.settings import setting

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from core.models.tokens import Encoded
    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class Adversarial(Method):
    """loss = α · CE(questions and answers of U, y* = argmax over a ≠ y of P(a | x, y<i)); P is the model before, y* fixed.

    The released code labels the question's tokens as well (zjunlp/KnowUnDo,
    llm_unlearn/utils/llm_tokenize_with_chunk.py:69-87). It takes each y* one position too far on; this follows the formula.
    Special tokens stay what they are.
    """

    name: ClassVar[str] = "adversarial"
    formula: ClassVar[str] = "α · CE(questions and answers of U, likeliest wrong tokens of the model before)"
    source: ClassVar[str] = "baseline of arXiv 2407.01920, section 4.1; Yao et al. 2024, arXiv 2402.15159"
    known_for: ClassVar[str] = (
        "Published (7B, privacy, Llama-2): Unlearn Success 46.2, Retention Success 55.8: it forgets least of the "
        "paper's baselines."
    )
    streams: ClassVar[tuple[str, ...]] = (FORGET, QUESTION)
    forget_weight: float = setting(1.0, "weight of the forget loss", low=0.0, high=1000.0)

    def loss(self, context: Context) -> torch.Tensor:
        """Return the cross-entropy towards the wrong tokens that were likeliest before."""

        def wrong(members: Sequence[Encoded], true: torch.Tensor) -> torch.Tensor:
            likeliest = context.reference("before", members).scatter(1, true[:, None], float("-inf")).argmax(-1)
            return context.where_plain(true, likeliest)

        return self.forget_weight * context.relabelled(lambda part: part.once("likeliest wrong tokens", wrong)).mean()
