"""What a model thinks of given answers: log-probabilities at answer positions, and nowhere else.

The output layer of a small model is a third of its work, and most positions are prompt or padding. So the hidden
states are gathered at the answer positions just before the output layer, whatever the architecture.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.batching import Batch, Encoded, by_length, collate


@contextlib.contextmanager
def answer_positions_only(model: Any, batch: Batch) -> Iterator[None]:
    """Within this context the output layer sees only (1, N, hidden): the batch's answer positions."""

    def gather(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (args[0][batch.rows, batch.columns].unsqueeze(0), *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()


def answer_logits(model: Any, batch: Batch) -> torch.Tensor:
    """Return the logits (N, vocabulary) in float32 that predict the batch's answer tokens."""
    with answer_positions_only(model, batch):
        output = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
    return output.logits[0].float()  # type: ignore[no-any-return]


def per_example(values: torch.Tensor, owners: torch.Tensor, examples: int) -> torch.Tensor:
    """Average (N,) token values within each example: (examples,)."""
    sums = torch.zeros(examples, dtype=values.dtype, device=values.device).index_add_(0, owners, values)
    counts = torch.zeros_like(sums).index_add_(0, owners, torch.ones_like(values))
    return sums / counts


def token_nll(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return −log p of each target: (N,)."""
    return torch.nn.functional.cross_entropy(logits, targets, reduction="none")


def mean_loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the mean over examples of the mean cross-entropy over answer tokens (spec: paper's loss)."""
    return per_example(token_nll(logits, batch.targets), batch.owners, len(batch)).mean()


@dataclass(frozen=True)
class TokenScores:
    """What the model says about one example's answer tokens; each list has one entry a token."""

    logprob: list[float]
    rank: list[int]
    """1 where the true token is the most probable one"""
    top: list[list[tuple[int, float]]]
    """alternatives: (token, log-probability), most probable first"""

    @property
    def accuracy(self) -> float:
        """Share of tokens that are the most probable one."""
        return sum(rank == 1 for rank in self.rank) / len(self.rank)


@torch.no_grad()
def score(
    model: Any, examples: Sequence[Encoded], pad: int, *, size: int = 32, top: int = 0, device: Any = "cpu"
) -> Iterator[tuple[str, TokenScores]]:
    """Yield (example id, TokenScores) batch by batch, shortest examples first."""
    for members in by_length(examples, size):
        batch = collate(members, pad, device)
        logits = answer_logits(model, batch)
        logprobs = torch.log_softmax(logits, dim=-1)
        true = logprobs.gather(1, batch.targets[:, None])
        # Ties are broken as argmax breaks them: by the lower index, so rank 1 and argmax agree.
        ahead = (logprobs > true) | ((logprobs == true) & (_vocabulary(logprobs) < batch.targets[:, None]))
        ranks = ahead.sum(-1) + 1
        best = logprobs.topk(top, dim=-1) if top else None
        for row, member in enumerate(members):
            mine = (batch.owners == row).nonzero().flatten()
            yield (
                member.id,
                TokenScores(
                    true[mine, 0].tolist(),
                    ranks[mine].tolist(),
                    [list(zip(best.indices[i].tolist(), best.values[i].tolist(), strict=True)) for i in mine]
                    if best
                    else [],
                ),
            )


def _vocabulary(logprobs: torch.Tensor) -> torch.Tensor:
    return torch.arange(logprobs.shape[-1], device=logprobs.device)[None]


@torch.no_grad()
def accuracy(model: Any, examples: Sequence[Encoded], pad: int, *, size: int = 32, device: Any = "cpu") -> float:
    """Return the answer-token accuracy in percent: mean over examples of the mean over tokens."""
    total = 0.0
    for members in by_length(examples, size):
        batch = collate(members, pad, device)
        hits = (answer_logits(model, batch).argmax(-1) == batch.targets).float()
        total += float(per_example(hits, batch.owners, len(batch)).sum())
    return 100.0 * total / len(examples)
