"""The margin of a true token: its logit less the logsumexp of all others, which is log p / (1 − p).

Unlike the loss of a token that the model is sure of, it has a gradient there too.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from core.models.likelihood import CHUNK, per_example
from core.models.tokens import Batch


class _Margin(torch.autograd.Function):
    """logits (N, V), targets (N,) -> (N,) float32, chunk by chunk: no float32 copy of all logits is ever made.

    Gradient: (one-hot target − softmax over all others) · incoming.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the margins."""
        others = torch.empty(len(logits), device=logits.device)
        for i in range(0, len(logits), CHUNK):
            others[i : i + CHUNK] = _without(logits[i : i + CHUNK], targets[i : i + CHUNK]).logsumexp(-1)
        ctx.save_for_backward(logits, targets, others)
        return logits.gather(1, targets[:, None])[:, 0].float() - others

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        """Return the gradient of the logits, in their number format."""
        logits, targets, others = ctx.saved_tensors
        result = torch.empty_like(logits)
        for i in range(0, len(logits), CHUNK):
            rows = slice(i, i + CHUNK)
            share = (_without(logits[rows], targets[rows]) - others[rows, None]).exp_().neg_()
            share.scatter_(1, targets[rows, None], 1.0)
            result[rows] = share.mul_(gradient[rows, None])
        return result, None


def _without(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return float32 logits with −∞ in the targets' place."""
    return logits.float().scatter(1, targets[:, None], -math.inf)


def token_margin(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the margin of each target: (N, V) and (N,) -> (N,) float32."""
    return _Margin.apply(logits, targets)  # type: ignore[no-any-return]


def margins(logits: torch.Tensor, batch: Batch, wanted: torch.Tensor) -> torch.Tensor:
    """Return (examples,): the mean margin of each example's wanted tokens, 0 where it has none.

    logits: (N, V) at the batch's answer positions; wanted: (N,) bool.
    """
    values = token_margin(logits[wanted], batch.targets[wanted])
    return per_example(values, batch.owners[wanted], len(batch))
