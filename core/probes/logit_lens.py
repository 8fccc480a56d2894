"""Logit lens: what each layer would say, were it the last. Is what after does not say unsaid, or gone?

Each block's output at the positions that predict answer tokens goes through the model's own final norm and output layer
(nostalgebraist 2020, "interpreting GPT: the logit lens"). Early layers speak another language than the last one, so a low
probability there says little; a true token that comes first in the middle and not at the end was held back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median_low
from typing import TYPE_CHECKING, Any, ClassVar

from core.probes import leak_rule
from core.probes.base import Finding, Probe
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.models.tokens import Encoded
    from core.probes.context import ProbeContext


@dataclass(frozen=True)
class LogitLens(Probe):
    """Over knowledge tokens: those that before says rightly and the never-taught model does not."""

    name: ClassVar[str] = "lens"
    title: ClassVar[str] = "Unsaid or gone"
    what: ClassVar[str] = (
        "Reads every layer as if it were the last: do inner layers still hold what the model no longer says?"
    )
    unit: ClassVar[str] = "tokens"
    kind: ClassVar[str] = "look"
    source: ClassVar[str] = "nostalgebraist 2020; Patil et al. 2023, arXiv 2309.17410"
    questions: int = setting(6, "questions of the unlearn scope, evenly over subjects; 0: all", low=0, high=100_000)
    maps: int = setting(3, "questions whose map of layers and answer tokens is kept", low=0, high=100)

    def run(self, context: ProbeContext) -> Finding:
        """Read all layers of all voices on a sample."""
        questions = context.knowledge_tokens(context.encoded(context.sample(self.questions)))
        scores = context.layer_scores(questions)
        first = {voice: [(ranks == 1).any(0).float().mean().item() for _, ranks in each] for voice, each in scores.items()}
        said, unsaid, gone = (fmean(values) for values in zip(*(_kinds(ranks) for _, ranks in scores["after"]), strict=True))
        return Finding(
            sentence=f"Of the answer tokens that {'only the taught model knew' if 'never' in scores else 'before says'}, "
            f"after still says {said:.0f} %, holds {unsaid:.0f} % "
            f"in some layer without saying them, and {gone:.0f} % come first in no layer.",
            measure="knowledge tokens (%, mean over questions) whose true token comes first in at least one layer",
            n=len(questions),
            rates=leak_rule.rates(context, first),
            detail={
                "curve": {voice: _curve(each) for voice, each in scores.items()},
                "after": {"said": said, "unsaid": unsaid, "gone": gone},
                "questions": [encoded.id for encoded, _ in questions],
                "maps": [_map(context, encoded) for encoded, _ in questions[: self.maps]],
            },
        )


def _map(context: ProbeContext, encoded: Encoded) -> dict[str, Any]:
    """Return one question's layers and answer tokens, before and after."""
    before, after = context.layer_maps(encoded, ("before", "after"))
    question = next(e.question for e in context.examples if e.id == encoded.id)
    words = [context.tokenizer.decode([token], clean_up_tokenization_spaces=False) for token in encoded.answer]
    return {"id": encoded.id, "question": question, "tokens": words, "before": before, "after": after}


def _kinds(ranks: torch.Tensor) -> tuple[float, float, float]:
    """Return the percentages of tokens said, held in some layer but not said, and first in no layer. ranks: (layers, N)."""
    first = ranks == 1
    said, held = first[-1], first.any(0)
    return tuple(100 * mask.float().mean().item() for mask in (said, held & ~said, ~held))  # type: ignore[return-value]


def _curve(scores: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> list[dict[str, float]]:
    """Return for each layer the tokens' mean probability and share of first ranks (%, means over questions), median rank."""
    return [
        {
            "layer": layer + 1,
            "probability": 100 * fmean([logprobs[layer].exp().mean().item() for logprobs, _ in scores]),
            "first": 100 * fmean([(ranks[layer] == 1).float().mean().item() for _, ranks in scores]),
            "rank": float(median_low([rank for _, ranks in scores for rank in ranks[layer].tolist()])),
        }
        for layer in range(len(scores[0][0]))
    ]
