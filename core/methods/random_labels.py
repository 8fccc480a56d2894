"""Random labels: learn nonsense in place of the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.methods.base import FORGET, QUESTION, Method
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.pipeline.step_context import Context


@dataclass(frozen=True)
class RandomLabels(Method):
    """loss = α · CE(questions and answers of U, random labels), drawn anew each step, uniform over all that are not special.

    The released code labels the question's tokens as well and leaves special ones what they are (zjunlp/KnowUnDo,
    llm_unlearn/utils/llm_tokenize_with_chunk.py:52-67); it draws once.
    """

    name: ClassVar[str] = "random-labels"
    formula: ClassVar[str] = "α · CE(questions and answers of U, random labels)"
    source: ClassVar[str] = "baseline of arXiv 2407.01920, section 4.1; Yao et al. 2024, arXiv 2402.15159"
    known_for: ClassVar[str] = "Published (7B, privacy, Llama-2): Unlearn Success 99.0, Retention Success 1.3."
    streams: ClassVar[tuple[str, ...]] = (FORGET, QUESTION)
    forget_weight: float = setting(1.0, "weight of the forget loss", low=0.0, high=1000.0)

    def loss(self, context: Context) -> torch.Tensor:
        """Return the cross-entropy towards labels that are drawn now."""
        return self.forget_weight * context.relabelled(lambda part: part.random_labels()).mean()
