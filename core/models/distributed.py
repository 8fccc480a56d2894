"""The processes that do one run together: each takes its share of the examples, and sums what all of them found.

Every process does the same stages in the same order on a model of its own. Only the main process (rank 0) keeps the run's
files, events and progress. A sum is the same bits in every process, so they stay alike without sending weights. Random
choices are made from seeds and ids alone, before anything is shared: they are the same for any number of processes.

`ALONE`, a group of one, is the default everywhere and does nothing. Imports torch only where processes really meet.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from core.util.errors import Cancelled, UserError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

POLL, LOOK = 0.0005, 0.2
"""Seconds between two looks whether a sum is there, and whether another process has ended."""
PATIENCE = timedelta(days=30)
"""how long a process may wait for the others: one that ended is noticed otherwise"""
GRACE = 20.0
"""Seconds that a process which failed waits for the main process to take notice: its launcher then ends the others."""


class Group:
    """A group of one: all examples are its own, and sums are what it has."""

    rank, size = 0, 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files, events and progress."""
        return self.rank == 0

    def shard(self, items: Sequence[T], weight: Callable[[T], int]) -> list[T]:
        """Return this process's part of the items, in their order: equal counts, and about equal sums of weights."""
        return list(items)

    def all_reduce(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the tensors (of one number format), each summed over all processes: the same bits in each of them."""
        return list(tensors)

    def all_gather(self, value: T) -> list[T]:
        """Return every process's value, in order of rank."""
        return [value]

    def check(self) -> None:
        """Raise what ended another process: Cancelled or UserError."""

    def merged(self, results: Mapping[str, T]) -> dict[str, T]:
        """Return what all processes found, by name."""
        return {name: value for part in self.all_gather(dict(results)) for name, value in part.items()}

    def broadcast(self, value: T) -> T:
        """Return the main process's value."""
        return self.all_gather(value)[0]

    def counted(self, done: int, total: int) -> int:
        """Return about how many of `total` examples all processes have done when this one has done `done`."""
        return min(total, done * self.size)

    def all_reduce_gradients(self, parameters: Sequence[torch.nn.Parameter], *also: torch.Tensor) -> list[torch.Tensor]:
        """Replace each gradient by the sum over all processes; return `also`, float32 tensors, summed likewise.

        A parameter that no process has a gradient for keeps none.
        """
        return list(also)


ALONE = Group()


class Processes(Group):
    """Several processes that accelerate has started. Sums go over gloo, from and to any device."""

    def __init__(self, cpu: bool) -> None:
        """Meet the others; waits until all are there. cpu: whether the model is on the CPU and not on a GPU a process."""
        import torch.distributed
        from accelerate import PartialState

        # Adapters are small, so sums through the CPU cost little, and are the same code on every device.
        state = PartialState(cpu=cpu, backend="gloo", timeout=PATIENCE)
        self.rank, self.size = state.process_index, state.num_processes
        self._store = torch.distributed.distributed_c10d._get_default_store()
        self._looked = 0.0

    def shard(self, items: Sequence[T], weight: Callable[[T], int]) -> list[T]:
        """Return what is dealt to this process."""
        return dealt(items, weight, self.rank, self.size)

    def all_reduce(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Add up one flat buffer."""
        import torch
        import torch.distributed

        if not tensors:
            return []
        flat = torch.cat([t.detach().reshape(-1).cpu() for t in tensors])
        self._wait(torch.distributed.all_reduce(flat, async_op=True))
        parts = flat.split([t.numel() for t in tensors])
        return [part.view(t.shape).to(t.device) for part, t in zip(parts, tensors, strict=True)]

    def all_gather(self, value: T) -> list[T]:
        """Send the value as pickled bytes: it never leaves the run's own processes."""
        import numpy as np
        import torch
        import torch.distributed

        # A copy, because the bytes are read-only and a tensor is not.
        content = torch.from_numpy(np.frombuffer(pickle.dumps(value), np.uint8).copy())
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        self._wait(torch.distributed.all_gather(lengths, torch.tensor([len(content)]), async_op=True))
        # gloo gathers tensors of equal length only.
        longest = max(int(length) for length in lengths)
        padded = torch.nn.functional.pad(content, (0, longest - len(content)))
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        self._wait(torch.distributed.all_gather(parts, padded, async_op=True))
        return [pickle.loads(p[: int(n)].numpy().tobytes()) for p, n in zip(parts, lengths, strict=True)]

    def all_reduce_gradients(self, parameters: Sequence[torch.nn.Parameter], *also: torch.Tensor) -> list[torch.Tensor]:
        """Add up gradients, `also`, and which parameters have a gradient anywhere, in one sum."""
        import torch

        there = torch.tensor([float(p.grad is not None) for p in parameters])
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        there, *rest = self.all_reduce([there, *gradients, *also])
        for parameter, gradient, any_ in zip(parameters, rest, there.tolist(), strict=False):
            parameter.grad = gradient if any_ else None
        return rest[len(parameters) :]

    def check(self) -> None:
        """Look whether another process has ended early; at most every LOOK seconds."""
        now = time.monotonic()
        if now - self._looked >= LOOK:
            self._looked = now
            self._look()

    def _look(self) -> None:
        if not self._store.check(["ended"]):
            return
        ended = json.loads(self._store.get("ended"))
        if ended["rank"] == self.rank:
            return
        if self.is_main:
            self._store.set("heard", "1")
        if ended["cancelled"]:
            raise Cancelled
        raise UserError(ended["what"], ended["fix"])

    def _wait(self, work: Any) -> None:
        """Wait for an exchange, and for word of a process that will never take part in it."""
        while not work.is_completed():
            self.check()
            time.sleep(POLL)
        work.wait()

    def leave(self, error: BaseException | None) -> None:
        """Tell the others why this process ends; one that is not the main process waits until it was heard."""
        import torch.distributed

        if error is None:
            torch.distributed.destroy_process_group()
            return
        what = error.what if isinstance(error, UserError) else f"A process of the run ended: {type(error).__name__}: {error}"
        fix = error.fix if isinstance(error, UserError) else "See worker.log in the run."
        message = {"rank": self.rank, "cancelled": isinstance(error, Cancelled), "what": what, "fix": fix}
        # The first word counts: what others raise because of it is no news. Where the launcher is gone, nobody listens.
        with contextlib.suppress(torch.distributed.DistError):
            if self._store.add("endings", 1) == 1:
                self._store.set("ended", json.dumps(message))
                until = time.monotonic() + GRACE
                while not self.is_main and time.monotonic() < until and not self._store.check(["heard"]):
                    time.sleep(LOOK)


def dealt(items: Sequence[T], weight: Callable[[T], int], rank: int, size: int) -> list[T]:
    """Deal items to `size` processes by falling weight, every second round backwards; return those of one, in their
    order.
    """
    order = sorted(range(len(items)), key=lambda i: (-weight(items[i]), i))
    mine = set()
    for start in range(0, len(order), size):
        hand = order[start : start + size]
        # A last round that is not full goes to the first ranks: the main process never has fewer than the others.
        backwards = start // size % 2 == 1 and len(hand) == size
        position = size - 1 - rank if backwards else rank
        mine.update(hand[position : position + 1])
    return [item for i, item in enumerate(items) if i in mine]


@contextlib.contextmanager
def meeting(size: int, cpu: bool) -> Iterator[Group]:
    """Within this context the processes that accelerate started are one group; a single one is a group of its own.

    Whatever ends one of them ends all.
    """
    if size == 1:
        yield ALONE
        return
    group = Processes(cpu)
    try:
        yield group
    except BaseException as error:
        group.leave(error)
        raise
    group.leave(None)


def rank() -> int:
    """Return this process's number among those that a launcher started, 0 where none did."""
    return int(os.environ.get("RANK", 0)) if size() > 1 else 0


def size() -> int:
    """Return how many processes a launcher started together with this one."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "LOCAL_RANK" in os.environ else 1
