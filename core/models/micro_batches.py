"""How much of a batch goes through the model at once where gradients are taken, and what is kept of it until they are.

A batch may be cut into micro-batches whose gradients add up to those of the whole, and each layer may keep only what enters
it and be run once more when its gradient is due. Both give the numbers of the whole batch, but for the order of additions.
Where memory runs out the micro-batches are halved and what failed is done again, so nothing is lost but time.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch.utils.checkpoint import checkpoint

from core.config.stages import ModelConfig
from core.models.adapters import Adapters
from core.models.fused_lora import restore
from core.util.failure_sentences import ran_out_of_memory
from core.util.progress import Reporter

T = TypeVar("T")
M = TypeVar("M")


class MicroBatches:
    """The size of a stage's micro-batches: it becomes smaller where memory runs out, and stays so until the stage ends."""

    def __init__(self, size: int = 0, *, checkpointing: bool = False, report: Reporter | None = None) -> None:
        """Begin with micro-batches of `size` examples; 0: whole batches. checkpointing: see `kept_inputs_only`."""
        self.size, self.checkpointing, self.report = size, checkpointing, report or Reporter()

    @classmethod
    def of(cls, config: ModelConfig, report: Reporter) -> MicroBatches:
        """Return what a run's settings say."""
        return cls(config.micro_batch, checkpointing=config.checkpointing, report=report)

    def within(self, most: int) -> int:
        """Return the size of a micro-batch of a batch of `most` examples."""
        return min(self.size or most, most)

    def cut(self, members: Sequence[M]) -> list[Sequence[M]]:
        """Return a batch's micro-batches, in its order; the batch itself where it is not cut."""
        size = self.within(max(1, len(members)))
        return [members[i : i + size] for i in range(0, len(members), size)] if size < len(members) else [members]

    def made(self, work: Callable[[], T], most: int, undo: Callable[[], None]) -> T:
        """Do something with batches of at most `most` examples; where memory runs out, again in micro-batches half as large.

        undo: puts back what the work has changed when it fails. Raises what the work raises where nothing is left to halve.
        """
        chance = torch.get_rng_state()  # dropout draws from it
        while True:
            failed = ""
            try:
                return work()
            except Exception as error:
                if not ran_out_of_memory(error) or self.within(most) == 1:
                    raise
                failed = type(error).__name__
            # Only now: the error holds on to all that was in memory when it came.
            undo()
            torch.set_rng_state(chance)
            self._halve(most, failed)

    def _halve(self, most: int, failed: str) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        before = self.within(most)
        self.size = (before + 1) // 2
        text = (
            f"Memory ran out with {before} examples at once ({failed}). From here on {self.size} go through the model at "
            "once; their gradients add up to the same."
        )
        self.report.event("finding", text=text)

    @contextlib.contextmanager
    def keeping(self, adapters: Adapters) -> Iterator[None]:
        """Within this context layers keep what the settings say."""
        blocks = adapters.blocks() if self.checkpointing else []
        if self.checkpointing and not blocks:
            self.checkpointing = False
            text = "Layers keep all that their gradients need (model.checkpointing): this model has several rows of them."
            self.report.event("finding", text=text)
        with kept_inputs_only(blocks):
            yield


@contextlib.contextmanager
def kept_inputs_only(blocks: Sequence[torch.nn.Module]) -> Iterator[None]:
    """Within this context a layer keeps what enters it alone, and is run once more when its gradient is due."""
    outer = [block.__dict__.get("forward") for block in blocks]
    try:
        for block in blocks:
            block.forward = partial(_run_again, block.forward)
        yield
    finally:
        restore(blocks, outer)


class _Keep(torch.autograd.Function):
    """Keeps a tensor as autograd keeps what a layer needs for its gradient, so that it may be made again instead."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, anchor: torch.Tensor) -> torch.Tensor:
        """Return the anchor, which nobody differentiates."""
        ctx.save_for_backward(tensor)
        return anchor.clone()


def for_the_way_back(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Return what gives a tensor once in each backward pass; where layers keep their input alone, it is made again then."""
    node: Any = _Keep.apply(tensor.detach(), torch.zeros((), requires_grad=True)).grad_fn
    return lambda: node.saved_tensors[0]


def _run_again(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return again_when_due(forward, *args, **kwargs) if torch.is_grad_enabled() else forward(*args, **kwargs)


def again_when_due(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return forward(…), of which nothing is kept but the arguments; it is called once more when its gradient is due.

    What it draws from torch's generator, for dropout, it then draws again.
    """
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


def by_stream(parts: Sequence[torch.Tensor], counts: Sequence[int]) -> list[torch.Tensor]:
    """Cut rows that lie end to end in several tensors into streams of so many rows each.

    They never lie in one tensor: its gradient would be put together of the streams' gradients, and be as large once more.
    """
    streams: list[list[torch.Tensor]] = [[] for _ in counts]
    ends, start = list(accumulate(counts)), 0
    for part in parts:
        stop = start + len(part)
        shares = [max(0, min(stop, end) - max(start, end - count)) for end, count in zip(ends, counts, strict=True)]
        pieces = part.split(shares) if max(shares) < len(part) else [part] * len(shares)
        for stream, share, piece in zip(streams, shares, pieces, strict=True):
            if share:
                stream.append(piece)
        start = stop
    return [stream[0] if len(stream) == 1 else torch.cat(stream or [parts[0][:0]]) for stream in streams]
