"""Generation: many questions to several adapters at once, as a stream of tokens.

`stream` is a generator that the caller consumes; it knows nothing of pages, files or metrics. Before and after (and
the never-taught base) share one batch and therefore one pass over the base's weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from core.config.stages import AnswersConfig
from core.models.adapters import Adapters
from core.models.fused_lora import mixed
from core.models.likelihood import last_position_only


@dataclass(frozen=True)
class Request:
    """One question to one adapter."""

    prompt: tuple[int, ...]
    adapter: str | None
    """None asks the base with adapters off: the model that was never taught"""
    draw: int = 0
    """requests with equal draw and seed use the same random numbers, so that panes differ by weights only"""


def drawn(question: str) -> int:
    """Return the draw of a question: the same alone and among others, recorded and live, so that equal seeds answer
    alike.
    """
    return int.from_bytes(hashlib.sha256(question.encode("utf-8", "replace")).digest()[:6])


@dataclass(frozen=True)
class Piece:
    """One generated token."""

    request: int
    """index into the requests"""
    token: int
    logprob: float
    last: bool
    top: tuple[tuple[int, float], ...] = ()
    """the likeliest tokens at this place with their log-probabilities, best first, as many as were asked for"""


def stream(
    adapters: Adapters,
    requests: Sequence[Request],
    config: AnswersConfig,
    *,
    ends: Collection[int],
    pad: int,
    seed: int = 0,
    top: int = 0,
) -> Iterator[list[Piece]]:
    """Yield, step by step, the next token of every request that is not finished; an end token is marked as the last one.

    A request is finished by one of the end tokens or after config.max_new_tokens. Greedy at temperature 0, else sampled.
    top: how many of the likeliest tokens each piece names.
    """
    if adapters.mixable and requests:
        yield from _batch(adapters, list(enumerate(requests)), config, ends, pad, seed, top)
        return
    for name in dict.fromkeys(request.adapter for request in requests):
        own = [(i, request) for i, request in enumerate(requests) if request.adapter == name]
        yield from _batch(adapters, own, config, ends, pad, seed, top)


def generate(
    adapters: Adapters, requests: Sequence[Request], config: AnswersConfig, *, ends: Collection[int], pad: int, seed: int = 0
) -> list[list[int]]:
    """Return the answer tokens of every request, in order."""
    answers: list[list[int]] = [[] for _ in requests]
    for pieces in stream(adapters, requests, config, ends=ends, pad=pad, seed=seed):
        for piece in pieces:
            if not piece.last or piece.token not in ends:
                answers[piece.request].append(piece.token)
    return answers


class Spelling:
    """Tokens to text as they come; a character that is not complete yet is held back."""

    def __init__(self, tokenizer: Any) -> None:
        """Begin with nothing said."""
        self.tokenizer, self.tokens, self.said = tokenizer, list[int](), ""

    def add(self, token: int | None, last: bool) -> str:
        """Return the text that a token completes; None adds no token, `last` lets out what was held back."""
        if token is not None:
            self.tokens.append(token)
        text = str(self.tokenizer.decode(self.tokens, skip_special_tokens=True))
        if text.endswith("\ufffd") and not last:
            return ""
        new, self.said = text[len(self.said) :], text
        return new


@torch.no_grad()
def _batch(
    adapters: Adapters,
    numbered: list[tuple[int, Request]],
    config: AnswersConfig,
    ends: Collection[int],
    pad: int,
    seed: int,
    top: int,
) -> Iterator[list[Piece]]:
    # Rows of one adapter lie together, so that each adapter works on one slice.
    alive = sorted(numbered, key=lambda item: (item[1].adapter or "", item[0]))
    device = adapters.device
    ids, mask = _left_padded([request.prompt for _, request in alive], pad, device)
    choose = _Chooser(config, seed, top)
    cache = DynamicCache(config=adapters.model.get_base_model().config)
    # Padding stands on the left: each row's first token is at position 0 all the same.
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    keep: Any = {_cache_word(adapters): cache}
    step = 0
    while alive:
        with _serving(adapters, [request.adapter for _, request in alive]) as model, last_position_only(model):
            # The answered set only shrinks at a row's end, so the context is re-entered only then.
            while True:
                output = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, **keep)
                tokens, logprobs, likeliest = choose(output.logits[0].float(), [request.draw for _, request in alive], step)
                step += 1
                full = step >= config.max_new_tokens
                pieces = [
                    Piece(number, token, logprob, token in ends or full, best)
                    for (number, _), token, logprob, best in zip(
                        alive, tokens.tolist(), logprobs.tolist(), likeliest, strict=True
                    )
                ]
                yield pieces
                open_rows = [row for row, piece in enumerate(pieces) if not piece.last]
                if not open_rows:
                    return
                if len(open_rows) < len(alive):
                    index = torch.tensor(open_rows, device=device)
                    cache.batch_select_indices(index)
                    tokens, mask, positions = tokens[index], mask[index], positions[index]
                    alive = [alive[row] for row in open_rows]
                ids = tokens[:, None]
                mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
                positions = positions[:, -1:] + 1
                if len(open_rows) < len(pieces):
                    break


def _cache_word(adapters: Adapters) -> str:
    """Return the name under which the model takes its cache: transformers is renaming it, model by model."""
    accepted = inspect.signature(adapters.model.get_base_model().forward).parameters
    return "cache" if "cache" in accepted else "past_key_values"


@contextlib.contextmanager
def _serving(adapters: Adapters, names: Sequence[str | None]) -> Iterator[Any]:
    """Enter what computes these rows: one adapter, the base, or several adapters slice by slice."""
    kinds = list(dict.fromkeys(names))
    if len(kinds) == 1:
        with adapters.active(kinds[0]) as model:
            yield model.get_base_model()
        return
    bounds = [0]
    for kind in kinds:
        bounds.append(bounds[-1] + sum(name == kind for name in names))
    groups = [(kind, slice(bounds[i], bounds[i + 1])) for i, kind in enumerate(kinds)]
    with adapters.active(kinds[0] or kinds[1]), mixed(adapters.model, groups):
        yield adapters.model.get_base_model()


class _Chooser:
    """Picks the next token of every row."""

    def __init__(self, config: AnswersConfig, seed: int, top: int) -> None:
        self.config, self.seed, self.top = config, seed, top

    def __call__(
        self, logits: torch.Tensor, draws: Sequence[int], step: int
    ) -> tuple[torch.Tensor, torch.Tensor, list[tuple[tuple[int, float], ...]]]:
        """Return (tokens, log-probabilities, the likeliest of each row) for logits (rows, vocabulary)."""
        logprobs = torch.log_softmax(logits, dim=-1)
        if self.config.temperature == 0:
            tokens = logprobs.argmax(-1)
        else:
            # The same draw gives the same random number at the same step, whatever else is in the batch.
            points = torch.tensor([_uniform(self.seed, draw, step) for draw in draws], device=logits.device)
            p, order = torch.softmax(logits / self.config.temperature, dim=-1).sort(-1, descending=True)
            before = p.cumsum(-1) - p
            p = torch.where(before < self.config.top_p, p, 0.0)
            heights = p.cumsum(-1)
            # Clamped: by rounding a point can lie above the last height.
            index = torch.searchsorted(heights, (points * heights[:, -1])[:, None]).clamp(max=p.shape[-1] - 1)
            tokens = order.gather(1, index)[:, 0]
        return tokens, logprobs.gather(1, tokens[:, None])[:, 0], _likeliest(logprobs, self.top)


def _likeliest(logprobs: torch.Tensor, top: int) -> list[tuple[tuple[int, float], ...]]:
    """Return the `top` likeliest tokens of each row, best first, with their log-probabilities."""
    if not top:
        return [()] * len(logprobs)
    values, tokens = logprobs.topk(min(top, logprobs.shape[-1]), dim=-1)
    return [tuple(zip(*row, strict=True)) for row in zip(tokens.tolist(), values.tolist(), strict=True)]


def _uniform(seed: int, draw: int, step: int) -> float:
    generator = torch.Generator().manual_seed(((seed * 1_000_003 + draw) * 100_003 + step) % 2**64)
    return float(torch.rand((), generator=generator))


def _left_padded(prompts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), length), pad)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, length - len(prompt) :] = torch.tensor(list(prompt))
        mask[row, length - len(prompt) :] = 1
    return ids.to(device), mask.to(device)
