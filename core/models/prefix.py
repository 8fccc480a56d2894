"""The frozen prefix: where a region begins at layer k, what enters layer k is a constant of each example.

It is computed once for each row of token ids and kept; a pass then runs layers k and up, and the head. While it is in use
the layers below do no work: they hand on what they are given, and the last of them gives the kept hidden states. Embeddings,
positions and masks are the model's own, so this holds for every architecture whose layers know each other by hidden states
alone. `frozen_prefix` tries that on a few examples before it is relied on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from core.models.adapters import Adapters
from core.models.fused_lora import restore
from core.models.likelihood import BATCH, answer_logits
from core.models.tokens import Batch, Encoded, by_length, collate
from core.util.progress import Reporter

TOLERANCE = 1e-4
"""Largest difference from the full pass in the trial: of logits, each row less its mean, in lengths of the latter. In 16
bits it is twice the number format's own precision. Both passes have the same shapes, so most often there is none."""
GB = 10**9

Ids = tuple[int, ...]


class Kept:
    """Hidden states (T, width) by token ids: in memory up to a number of bytes, the rest in a folder."""

    def __init__(self, room: int, report: Reporter) -> None:
        """Begin empty; the folder is made when it is needed. room: bytes."""
        self.room, self.report = room, report
        self.near: dict[Ids, torch.Tensor] = {}
        self.far: dict[Ids, tuple[Path, torch.dtype, torch.Size]] = {}
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self._full = False

    def __contains__(self, ids: Ids) -> bool:
        """Say whether an example's states are kept."""
        return ids in self.near or ids in self.far

    def __getitem__(self, ids: Ids) -> torch.Tensor:
        """Return an example's states, bit by bit as they were given. Raises KeyError for one that is not kept."""
        if ids in self.near:
            return self.near[ids]
        path, dtype, shape = self.far[ids]
        return torch.frombuffer(bytearray(path.read_bytes()), dtype=dtype).view(shape)

    def put(self, ids: Ids, states: torch.Tensor) -> None:
        """Keep states. Where the disk has no room for them they are not kept: they are computed again when needed."""
        if states.nbytes <= self.room:
            self.room -= states.nbytes
            self.near[ids] = states
            return
        if self._full:
            return
        try:
            self.folder = self.folder or tempfile.TemporaryDirectory(prefix="forgetscope-prefix-")
            path = Path(self.folder.name) / str(len(self.far))
            path.write_bytes(states.view(torch.uint8).numpy().tobytes())
        except OSError as error:
            self._full = True
            text = f"What lies below the region is computed anew for some examples: it cannot be kept on disk ({error})."
            self.report.event("finding", text=text)
        else:
            self.far[ids] = (path, states.dtype, states.shape)

    def close(self) -> None:
        """Forget everything, and remove the folder."""
        self.near.clear()
        self.far.clear()
        if self.folder is not None:
            self.folder.cleanup()
            self.folder = None


class Prefix:
    """The layers below `layer`, run once for each example; the adapter that is trained must be the active one."""

    def __init__(self, adapters: Adapters, layer: int, room: int, report: Reporter) -> None:
        """Begin with nothing computed; `trial` comes first. room: bytes of main memory."""
        self.adapters, self.layer = adapters, layer
        self.kept = Kept(room, report)
        self._blocks = adapters.blocks()
        self._forms: list[int] = []
        """what each layer returns: a tensor (0), or a tuple of so many parts, of which the first are the hidden states"""
        self._same: dict[str, bool] = {}

    @torch.no_grad()
    def trial(self, members: Sequence[Encoded]) -> str:
        """Compare with the full pass on a few examples. Return why the prefix cannot be used, or an empty string."""
        batch = collate(members, self.adapters.device)
        with contextlib.ExitStack() as stack:
            seen = [stack.enter_context(_outputs(block)) for block in self._blocks]
            whole = answer_logits(self.adapters.model, batch)
        for number, outputs in enumerate(seen):
            if len(outputs) != 1:
                return f"layer {number} runs {len(outputs)} times in a pass"
            if not isinstance(states := _states(outputs[0]), torch.Tensor) or states.shape[:-1] != batch.ids.shape:
                return f"layer {number} gives other things than one hidden state for each token"
        self._forms = [len(outputs[0]) if isinstance(outputs[0], tuple) else 0 for outputs in seen]
        try:
            with self.over(batch):
                short = answer_logits(self.adapters.model, batch)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            # A layer that asks more of those below than hidden states (Gemma 3n and 4: their keys and values) ends here.
            return f"those above need more of them than hidden states ({type(error).__name__}: {error})"
        away = _difference(short, whole)
        if not away <= max(TOLERANCE, 2 * torch.finfo(whole.dtype).eps):  # also where it is no number
            return f"without them the model's answers differ by {100 * away:.2g} %"
        return ""

    @contextlib.contextmanager
    def over(self, batch: Batch) -> Iterator[None]:
        """Within this context the model runs on this batch without its lower layers.

        Hidden states are right from the output of layer `layer` − 1 on, at all positions but padding, where they are zero
        at first. What was not kept yet is computed now.
        """
        with self._idle(range(self.layer), self._padded(batch)):
            yield

    def serves(self, voice: str) -> bool:
        """Say whether an adapter is the same below as the one that is trained, so that what is kept holds for it too."""
        if voice not in self._same:
            own = self.adapters
            one_base = (voice in own.unmerged) == ("after" in own.unmerged)
            moved = set(own.moved(voice, "after"))
            self._same[voice] = one_base and all(cell.layer >= self.layer for cell in own.cells if cell.name in moved)
        return self._same[voice]

    def _padded(self, batch: Batch) -> torch.Tensor:
        """Return what enters layer `layer`: (examples, length, width), padded as the batch's ids are."""
        missing = {m.ids: m for m in batch.members if m.ids not in self.kept}
        made = self._compute(list(missing.values()))
        for ids, states in made.items():
            self.kept.put(ids, states)
        return pad_sequence([made[m.ids] if m.ids in made else self.kept[m.ids] for m in batch.members], batch_first=True)

    @torch.no_grad()
    def _compute(self, members: Sequence[Encoded]) -> dict[Ids, torch.Tensor]:
        """Run the lower layers alone; the head sees one position, since it must see something."""
        found: dict[Ids, torch.Tensor] = {}
        for group in by_length(members, BATCH):
            batch = collate(group, self.adapters.device)
            batch = dataclasses.replace(batch, rows=batch.rows[:1], columns=batch.columns[:1])
            with self._idle(range(self.layer, len(self._blocks))), _outputs(self._blocks[self.layer - 1]) as outputs:
                answer_logits(self.adapters.model, batch)
            states = _states(outputs[0]).cpu()
            # Clones: a view would keep the whole batch's tensor in memory.
            found |= {m.ids: row[: len(m.ids)].clone() for m, row in zip(group, states, strict=True)}
        return found

    @contextlib.contextmanager
    def _idle(self, layers: range, last: torch.Tensor | None = None) -> Iterator[None]:
        """Within this context layers do no work: they return the states they are given, the last one those in `last`."""
        blocks = [self._blocks[number] for number in layers]
        outer = [block.__dict__.get("forward") for block in blocks]
        try:
            for number, block in zip(layers, blocks, strict=True):
                given = last if number == layers[-1] else None
                block.forward = partial(_hand_on, self._forms[number], given)
            yield
        finally:
            restore(blocks, outer)


def _hand_on(parts: int, instead: torch.Tensor | None, *args: Any, **kwargs: Any) -> Any:
    """Stand in for a layer's forward: return the states, or others in their place, in the form that the layer uses."""
    states: torch.Tensor = args[0] if args else kwargs["hidden_states"]
    if instead is not None:
        states = instead.to(states.device)
    return (states, *[None] * (parts - 1)) if parts else states


def _states(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


@contextlib.contextmanager
def _outputs(block: torch.nn.Module) -> Iterator[list[Any]]:
    """Collect what a layer returns within this context."""
    seen: list[Any] = []
    handle = block.register_forward_hook(lambda _, __, output: seen.append(output))
    try:
        yield seen
    finally:
        handle.remove()


def _difference(logits: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the difference of two (N, vocabulary), relative to the second; a row's mean says nothing and is left out."""
    a, b = (part.float() - part.float().mean(-1, keepdim=True) for part in (logits, expected))
    return float((a - b).norm() / b.norm())


@contextlib.contextmanager
def frozen_prefix(
    adapters: Adapters, region: Sequence[str], memory: float, members: Sequence[Encoded], report: Reporter
) -> Iterator[Prefix | None]:
    """Yield the prefix below a region, or None where every pass has to run all layers; a finding says why.

    "after" must be active and stay equal outside the region. memory: GB of main memory for what is kept, 0 for no prefix.
    members: a few examples of different lengths, for the trial. What is kept is removed at the end.
    """
    lowest = min(cell.layer for cell in adapters.cells if cell.name in set(region))
    if not memory or lowest == 0 or adapters.model.training:  # active dropout draws anew in each pass
        yield None
        return
    prefix = Prefix(adapters, lowest, int(memory * GB), report)
    try:
        if why := _obstacle(adapters, lowest) or prefix.trial(members):
            text = f"Every step runs the whole model. The layers below the region cannot be left out: {why}."
            report.event("finding", text=text)
        yield None if why else prefix
    finally:
        prefix.kept.close()


def _obstacle(adapters: Adapters, lowest: int) -> str:
    """Return why a region has nothing below it that could be kept; an empty string where nothing is known against it."""
    if lowest < 0:
        return "the region has tensors outside of the layers"
    return "" if adapters.blocks() else "the model has several rows of layers"
