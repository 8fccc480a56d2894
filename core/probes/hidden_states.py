"""Hidden states: what each block puts out at answer positions, what the output layer makes of it (logit lens), and a pass
with another voice's states put in (activation patching).

Works on any architecture whose blocks the adapters know: what lies between the last block and the logits is found by
watching one pass, and checked against the model's own logits. Imports torch; probes reach it through their context.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.models.adapters import Adapters
from core.models.likelihood import answer_logits, ranked
from core.models.tokens import Batch, Encoded, collate
from core.probes.base import Unavailable

ROWS = 512
"""Rows that go through the output layer together: with 50,000 words 100 MB of logits. With 64 it works at half the speed."""


def depth(adapters: Adapters) -> int:
    """Return the number of blocks. Raises Unavailable for an adapter on some of them only, or on more than them."""
    layers = {cell.layer for cell in adapters.cells}
    last = adapters.block(max(layers))
    lists = (module for module in adapters.model.modules() if isinstance(module, torch.nn.ModuleList))
    blocks = next((len(module) for module in lists if last in [*module]), 0)
    if layers != set(range(blocks)):
        raise Unavailable("This adapter is not on all layers alone, so they cannot be read one after the other.")
    return blocks


def _states(output: Any) -> torch.Tensor:
    """Return the hidden states of what a block puts out: (examples, length, width)."""
    return output[0] if isinstance(output, tuple) else output  # type: ignore[no-any-return]


@torch.no_grad()
def block_outputs(adapters: Adapters, voice: str | None, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (layers, N, width), each block's output at the N positions that predict answer tokens, and the logits (N,
    words).

    voice: the adapter, None for the base alone.
    """
    outputs: list[torch.Tensor] = []
    with contextlib.ExitStack() as stack:
        for layer in range(depth(adapters)):
            handle = adapters.block(layer).register_forward_hook(
                lambda _, __, output: outputs.append(_states(output)[batch.rows, batch.columns])
            )
            stack.callback(handle.remove)
        logits = answer_logits(stack.enter_context(adapters.active(voice)), batch)
    return torch.stack(outputs), logits


@torch.no_grad()
def patched_logits(adapters: Adapters, voice: str | None, batch: Batch, layer: int, states: torch.Tensor) -> torch.Tensor:
    """Return a voice's logits (N, words) when one block's output at the answer positions is replaced by (N, width)
    states.
    """

    def put(_: torch.nn.Module, __: Any, output: Any) -> Any:
        changed = _states(output).clone()
        changed[batch.rows, batch.columns] = states.to(changed.dtype)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = adapters.block(layer).register_forward_hook(put)
    try:
        with adapters.active(voice) as model:
            return answer_logits(model, batch)
    finally:
        handle.remove()


@dataclass(frozen=True)
class Lens:
    """What turns a block's output into logits: the modules after the last block, and the output layer."""

    modules: tuple[torch.nn.Module, ...]
    cap: float | None
    """Gemma squeezes its logits into ±cap"""

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Return (N, words) for (N, width)."""
        for module in self.modules:
            states = module(states)
        return states if self.cap is None else self.cap * torch.tanh(states / self.cap)


@torch.no_grad()
def find_lens(adapters: Adapters, batch: Batch) -> Lens:
    """Find the lens by watching a pass of the base, and check it there. Raises Unavailable where it gives other logits."""
    base = adapters.model.get_base_model()
    head = base.get_output_embeddings()
    if head is None:
        raise Unavailable("This model has no output layer that could read its layers.")
    order: list[torch.nn.Module] = []
    with contextlib.ExitStack() as stack:
        for module in base.modules():
            if not list(module.children()) or module is head:
                stack.callback(module.register_forward_hook(lambda m, _, __: order.append(m)).remove)
        # The last block ends after all of its parts: what was noted until then is not of the lens.
        stack.callback(
            adapters.block(depth(adapters) - 1).register_forward_hook(lambda *_: order.clear()).remove  # type: ignore[func-returns-value]
        )
        states, logits = block_outputs(adapters, None, batch)
    cap = getattr(base.config.get_text_config(), "final_logit_softcapping", None)
    lens = Lens(tuple(order), cap)
    with adapters.active(None):
        again = lens.logits(states[-1])
    close = max(1e-4, 4 * torch.finfo(logits.dtype).eps)
    if not order or order[-1] is not head or not torch.allclose(again.float(), logits.float(), rtol=close, atol=close):
        raise Unavailable(
            "What lies between this model's last layer and its words could not be applied to its other layers."
        )
    return lens


@torch.no_grad()
def lens_scores(lens: Lens, states: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log-probability and rank (1: most probable) of the true token at every layer: two (layers, N).

    states (layers, N, width), targets (N,).
    """
    layers, count, width = states.shape
    flat, wanted = states.reshape(-1, width), targets.repeat(layers)
    parts = [target_scores(lens.logits(flat[i : i + ROWS]), wanted[i : i + ROWS]) for i in range(0, len(flat), ROWS)]
    logprobs, ranks = (torch.cat(values).reshape(layers, count) for values in zip(*parts, strict=True))
    return logprobs, ranks


def target_scores(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log-probability and rank of each target: (N, words) and (N,) -> two (N,)."""
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    true = logprobs.gather(1, targets[:, None])
    return true[:, 0], ranked(logprobs, true, targets)


def split_answers(members: Sequence[Encoded], *arrays: torch.Tensor) -> Iterator[tuple[Encoded, tuple[torch.Tensor, ...]]]:
    """Cut arrays (…, N) into the answers of a batch's members."""
    start = 0
    for member in members:
        end = start + len(member.answer)
        yield member, tuple(array[..., start:end] for array in arrays)
        start = end


Positions = Sequence[int]
"""places in an answer, from 0"""


def layer_scores(
    adapters: Adapters, lens: Lens, voice: str | None, questions: Sequence[tuple[Encoded, Positions]]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return per question log-probability and rank of some of its answer tokens at every layer: two (layers, positions).

    voice: the adapter, None for the base alone.
    """
    batch = collate([encoded for encoded, _ in questions], adapters.device)
    states, _ = block_outputs(adapters, voice, batch)
    answers = split_answers(batch.members, states.transpose(1, 2), batch.targets)
    return [
        lens_scores(lens, mine.transpose(1, 2)[:, list(at)], targets[list(at)])
        for (_, (mine, targets)), (_, at) in zip(answers, questions, strict=True)
    ]


def layer_maps(adapters: Adapters, encoded: Encoded, voices: Sequence[str | None]) -> list[dict[str, Any]]:
    """Return per voice (an adapter, None for the base) {"logprob", "rank"}: lists of layers × answer tokens, for one
    question.

    Raises Unavailable for a model whose layers cannot be read so.
    """
    lens, maps = find_lens(adapters, collate([encoded], adapters.device)), []
    for voice in voices:
        ((logprobs, ranks),) = layer_scores(adapters, lens, voice, [(encoded, range(len(encoded.answer)))])
        rounded = [[round(value, 3) for value in line] for line in logprobs.tolist()]
        maps.append({"logprob": rounded, "rank": ranks.tolist()})
    return maps


def mean_probabilities(logits: torch.Tensor, batch: Batch, positions: Sequence[Positions]) -> list[float]:
    """Return per example the mean probability (0 to 1) of its answer tokens at some positions. logits: (N, words)."""
    logprobs, _ = target_scores(logits, batch.targets)
    answers = split_answers(batch.members, logprobs)
    return [mine[list(at)].exp().mean().item() for (_, (mine,)), at in zip(answers, positions, strict=True)]
