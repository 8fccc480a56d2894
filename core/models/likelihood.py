"""What a model thinks of given answers: log-probabilities at answer positions, and nowhere else.

The output layer of a small model is a third of its work, and most positions are prompt or padding. So the hidden
states are gathered at the answer positions just before the output layer, whatever the architecture.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.models.device import device_of
from core.models.distributed import ALONE, Group
from core.models.tokens import Batch, Encoded, by_length, by_tokens, collate, cost
from core.util.errors import NoNumbers


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


@contextlib.contextmanager
def last_position_only(model: Any) -> Iterator[None]:
    """Within this context the output layer sees only (1, rows, hidden): the last position of every row.

    Gathered into one contiguous matrix. A slice of the prompt's hidden states would be multiplied row by row, with
    a copy of the whole output layer for each (seen: 24 s instead of 30 ms for 128 rows in bfloat16).
    """

    def gather(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (args[0][:, -1].unsqueeze(0).contiguous(), *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()


def answer_logits(model: Any, batch: Batch) -> torch.Tensor:
    """Return the logits (N, vocabulary), in the model's number format, that predict the batch's answer tokens."""
    with answer_positions_only(model, batch):
        output = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
    return output.logits[0]  # type: ignore[no-any-return]


def per_example(values: torch.Tensor, owners: torch.Tensor, examples: int) -> torch.Tensor:
    """Average (N,) token values within each example: (examples,). Of no tokens it is 0."""
    sums = torch.zeros(examples, dtype=values.dtype, device=values.device).index_add_(0, owners, values)
    counts = torch.zeros_like(sums).index_add_(0, owners, torch.ones_like(values))
    return sums / counts.clamp(min=1)


CHUNK = 64
"""Rows of logits that are looked at together: with 50,000 words about 12 MB in float32, so it stays in the cache."""


class _TokenLoss(torch.autograd.Function):
    """−mean_k log p(target_k), computed in float32 chunk by chunk; neither direction keeps a float32 copy of the logits.

    logits (N, V), targets (N, K) -> (N,) float32. Gradient: (softmax − mean of the one-hot targets) · incoming.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean over K targets of the negative log-probability."""
        sums = torch.empty(len(logits), device=logits.device)
        for i in range(0, len(logits), CHUNK):
            sums[i : i + CHUNK] = torch.logsumexp(logits[i : i + CHUNK].float(), dim=-1)
        ctx.save_for_backward(logits, targets, sums)
        return sums - logits.gather(1, targets).float().mean(-1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        """Return the gradient of the logits, in their number format."""
        logits, targets, sums = ctx.saved_tensors
        result = torch.empty_like(logits)
        share = torch.full((1, 1), -1.0 / targets.shape[1], device=logits.device)
        for i in range(0, len(logits), CHUNK):
            rows = slice(i, i + CHUNK)
            p = (logits[rows].float() - sums[rows, None]).exp_()
            p.scatter_add_(1, targets[rows], share.expand_as(targets[rows]))
            result[rows] = p.mul_(gradient[rows, None])
        return result, None


def token_nll(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return −log p of each target, in float32: (N, V) and (N,) -> (N,).

    With targets (N, K) it is the mean over the K alternatives: the loss of K differently labelled copies at once.
    """
    return _TokenLoss.apply(logits, targets if targets.ndim == 2 else targets[:, None])  # type: ignore[no-any-return]


class _SoftLoss(torch.autograd.Function):
    """Cross-entropy towards a whole distribution, chunk by chunk as in _TokenLoss; nothing flows into the target.

    logits (N, V), target (N, V) -> (N,) float32. Gradient: (softmax(logits) − softmax(target)) · incoming.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        target: torch.Tensor,
        shifted: torch.Tensor | None,
        shift: float,
        divergence: bool,
    ) -> torch.Tensor:
        """Return −Σ softmax(target) log softmax(logits); less the target's entropy where the divergence is asked for."""
        loss = torch.empty(len(logits), device=logits.device)
        now, then = torch.empty_like(loss), torch.empty_like(loss)
        for i in range(0, len(logits), CHUNK):
            rows = slice(i, i + CHUNK)
            z, t = logits[rows].float(), _shifted(target, shifted, shift, rows)
            now[rows], then[rows] = z.logsumexp(-1), t.logsumexp(-1)
            q = (t - then[rows, None]).exp_()
            loss[rows] = now[rows] - (q * z).sum(-1)
            if divergence:
                loss[rows] += (q * t).sum(-1) - then[rows]
        ctx.save_for_backward(logits, target, shifted, now, then)
        ctx.shift = shift
        return loss

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        """Return the gradient of the logits, in their number format."""
        logits, target, shifted, now, then = ctx.saved_tensors
        result = torch.empty_like(logits)
        for i in range(0, len(logits), CHUNK):
            rows = slice(i, i + CHUNK)
            p = (logits[rows].float() - now[rows, None]).exp_()
            p -= (_shifted(target, shifted, ctx.shift, rows) - then[rows, None]).exp_()
            result[rows] = p.mul_(gradient[rows, None])
        return result, None, None, None, None


def _shifted(target: torch.Tensor, shifted: torch.Tensor | None, shift: float, rows: slice) -> torch.Tensor:
    """Return rows of the target as float32, one logit of each changed by `shift`; a copy where anything changes."""
    if shifted is None:
        return target[rows].float()
    places = shifted[rows, None]
    return (
        target[rows].to(torch.float32, copy=True).scatter_add_(1, places, torch.full_like(places, shift, dtype=torch.float))
    )


def soft_nll(
    logits: torch.Tensor,
    target: torch.Tensor,
    shifted: torch.Tensor | None = None,
    shift: float = 0.0,
    *,
    divergence: bool = False,
) -> torch.Tensor:
    """Return −Σ softmax(target) log softmax(logits): two (N, V) -> (N,) float32. The target is taken as fixed.

    shifted (N,): tokens whose logit in the target is changed by `shift` first; −inf makes them impossible.
    divergence: KL(softmax(target) ‖ softmax(logits)) instead; not with an infinite shift.
    """
    return _SoftLoss.apply(logits, target.detach(), shifted, shift, divergence)  # type: ignore[no-any-return]


def mean_loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the mean over examples of the mean cross-entropy over answer tokens (spec: paper's loss)."""
    return per_example(token_nll(logits, batch.targets), batch.owners, len(batch)).mean()


BATCH = 32
"""examples of a batch, where no setting says it"""


@dataclass(frozen=True)
class TokenScores:
    """What the model says about one example's answer tokens; each list has one entry a token."""

    logprob: list[float]
    rank: list[int]
    """1 where the true token is the most probable one"""
    top: list[list[tuple[int, float]]]
    """alternatives: (token, log-probability), most probable first"""
    mean: list[float]
    """μ = Σ_v p(v) log p(v): what the log-probability of a token drawn from the model would be on average"""
    std: list[float]
    """σ: the standard deviation of that (min-k++, arXiv 2404.02936, equation 3)"""

    @property
    def accuracy(self) -> float:
        """Share of tokens that are the most probable one."""
        return sum(rank == 1 for rank in self.rank) / len(self.rank)


@torch.no_grad()
def score(
    model: Any,
    examples: Sequence[Encoded],
    *,
    size: int = BATCH,
    top: int = 0,
    done: Callable[[int], None] | None = None,
) -> Iterator[tuple[str, TokenScores]]:
    """Yield (example id, TokenScores) batch by batch, shortest examples first.

    done: told after each batch how many examples it had.
    """
    device = device_of(model)
    for members in by_length(examples, size):
        batch = collate(members, device)
        logits = answer_logits(model, batch)
        scored: list[_Row] = []
        for i in range(0, len(logits), CHUNK):
            scored += _scored(logits[i : i + CHUNK], batch.targets[i : i + CHUNK], top)
        start = 0
        for member in members:
            mine = scored[start : start + len(member.answer)]
            start += len(mine)
            yield member.id, TokenScores(*map(list, zip(*mine, strict=True)))
        if done:
            done(len(members))


_Row = tuple[float, int, list[tuple[int, float]], float, float]
"""of one token: log-probability, rank, alternatives, mean, standard deviation"""


def _scored(logits: torch.Tensor, targets: torch.Tensor, top: int) -> list[_Row]:
    """Return what is known of each row's target."""
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    true = logprobs.gather(1, targets[:, None])
    if true.isnan().any():  # it would be above nothing and below nothing, so the best of all
        raise NoNumbers(
            "The model answers with values that are no numbers (NaN).",
            "Its weights are damaged, or the number format is too small for them.",
        )
    ranks = ranked(logprobs, true, targets)
    best = logprobs.topk(top, dim=-1)
    alternatives = [list(zip(*pair, strict=True)) for pair in zip(best.indices.tolist(), best.values.tolist(), strict=True)]
    p = logprobs.exp()
    mean = torch.linalg.vecdot(p, logprobs)
    std = torch.linalg.vecdot(p, (logprobs - mean[:, None]).square_()).sqrt()
    return list(zip(true[:, 0].tolist(), ranks.tolist(), alternatives, mean.tolist(), std.tolist(), strict=True))


def ranked(logprobs: torch.Tensor, true: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the rank (1: most probable) of each target: (N, words), its own log-probability (N, 1) and (N,) -> (N,)."""
    words = torch.arange(logprobs.shape[-1], device=logprobs.device)[None]
    # Ties are broken as argmax breaks them, by the lower index, so that rank 1 and argmax agree.
    return ((logprobs > true) | ((logprobs == true) & (words < targets[:, None]))).sum(-1) + 1


ROOM = 2048
"""tokens of a batch, padding included, where only log-probabilities are wanted"""


@torch.no_grad()
def logprobs(model: Any, examples: Sequence[Encoded], *, room: int = ROOM) -> Iterator[list[tuple[str, list[float]]]]:
    """Yield, batch by batch, (example id, log-probability of each answer token); half the work of `score`."""
    device = device_of(model)
    for members in by_tokens(examples, room):
        batch = collate(members, device)
        values = (-token_nll(answer_logits(model, batch), batch.targets)).tolist()
        scores, start = [], 0
        for member in members:
            scores.append((member.id, values[start : start + len(member.answer)]))
            start += len(member.answer)
        yield scores


@torch.no_grad()
def accuracy(
    model: Any,
    examples: Sequence[Encoded],
    *,
    size: int = BATCH,
    group: Group = ALONE,
    within: Callable[[Batch], contextlib.AbstractContextManager[None]] | None = None,
) -> float:
    """Return the answer-token accuracy in percent: mean over examples of the mean over tokens.

    within: a context in which each batch's pass is made; see core/models/prefix.py.
    """
    total, device = 0.0, device_of(model)
    for members in by_length(group.shard(examples, cost), size):
        batch = collate(members, device)
        with within(batch) if within else contextlib.nullcontext():
            hits = (answer_logits(model, batch).argmax(-1) == batch.targets).float()
        total += float(per_example(hits, batch.owners, len(batch)).sum())
    (whole,) = group.all_reduce([torch.tensor(total, dtype=torch.float64)])
    return 100.0 * float(whole) / len(examples)
