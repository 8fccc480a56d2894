"""What a step holds in memory, counted while it runs on the meta device: its shapes are real, its numbers are not.

Every tensor that a step makes is noted when it appears and when it goes, so nothing about an architecture has to be known
here: what the backward pass keeps is what torch keeps. All layers are alike, so a model is run with few layers at two
depths, and what lies between them is what a layer costs.

The fullest moment of few layers need not be that of many: where batches are cut, few layers hold less than the logits of
the whole batch, which come when the layers hold nothing. So the moment of most activations is counted as well.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from core.config.run_config import RunConfig
from core.models.adapters import Adapters
from core.models.likelihood import answer_logits, mean_loss, token_nll
from core.models.micro_batches import MicroBatches, again_when_due, by_stream
from core.models.tokens import Batch, Encoded, collate
from core.plan.architectures import on_meta, shallow, weightless
from core.util.progress import Reporter

DEPTHS = 2, 4
"""layers of the two models that are run"""

Held = dict[str, float]
"""kind -> bytes at the fullest moment: activations, logits; of answers also cache"""


class Tally(TorchDispatchMode):
    """While active, counts the bytes of all tensors that operations make, and remembers two moments: see `peaks`."""

    def __init__(self, vocabulary: int, weights: Sequence[torch.Tensor]) -> None:
        """Begin with nothing; `weights` are never counted, and rows of `vocabulary` entries are logits."""
        super().__init__()
        self.vocabulary, self.live = vocabulary, Counter[str]()
        self.peaks = [Counter[str](), Counter[str]()]
        """the fullest moment, and that of most activations"""
        self._seen = {tensor.untyped_storage()._cdata for tensor in weights}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do the operation, and note what is new."""
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor)
        return result

    def _note(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._seen:  # a view of something that is counted already
            return
        kind = "logits" if tensor.ndim > 1 and tensor.shape[-1] == self.vocabulary else "activations"
        self._seen.add(storage._cdata)
        self.live[kind] += storage.nbytes()
        # Torch keeps a storage's Python object as long as its memory: the end of the one is the end of the other.
        weakref.finalize(storage, self._gone, storage._cdata, kind, storage.nbytes())
        if self.live.total() > self.peaks[0].total():
            self.peaks[0] = self.live.copy()
        if self.live["activations"] > self.peaks[1]["activations"]:
            self.peaks[1] = self.live.copy()

    def _gone(self, key: int, kind: str, size: int) -> None:
        self._seen.discard(key)
        self.live[kind] -= size


@dataclass(frozen=True)
class Batches:
    """The fullest batch of each stage: the longest examples decide what is needed."""

    teach: Sequence[Encoded]
    localize: Sequence[Encoded]
    unlearn: Sequence[Sequence[Encoded]]
    """both scopes' examples of a step"""
    score: Sequence[Encoded]
    rows: int
    """questions that are answered together, all voices"""
    prompt: int
    """tokens of the longest question"""


def longest(members: Sequence[Encoded], size: int) -> list[Encoded]:
    """Return the `size` longest examples."""
    return sorted(members, key=lambda m: (len(m.ids), m.id))[-size:]


def held(model: Any, config: RunConfig, batches: Batches, dtype: str, *, gpu: bool = False) -> dict[str, Held]:
    """Return stage -> what its fullest step holds, for all layers of a model's configuration."""
    depth, (low, high) = int(model.num_hidden_layers), DEPTHS
    # Torch groups the products of fused experts in bfloat16 alone, where there are no numbers: half of what float32 holds.
    halved = dtype != "bfloat16" and bool(_experts(model))
    shallower, deeper = (_held(shallow(model, n), config, batches, "bfloat16" if halved else dtype, gpu=gpu) for n in DEPTHS)

    def all_layers(few: float, more: float) -> float:
        return (few + (more - few) / (high - low) * (depth - low)) * (1 + halved)

    def fullest(few: Sequence[Held], more: Sequence[Held]) -> Held:
        moments = [{kind: all_layers(a[kind], b[kind]) for kind in a} for a, b in zip(few, more, strict=True)]
        return max(moments, key=lambda moment: sum(moment.values()))

    return {stage: fullest(moments, deeper[stage]) for stage, moments in shallower.items()}


def _experts(model: Any) -> int:
    """Return how many experts a configuration names, whatever it calls them."""
    values = model.to_dict()
    return int(values.get("num_local_experts") or values.get("num_experts") or values.get("n_routed_experts") or 0)


def _held(model: Any, config: RunConfig, batches: Batches, dtype: str, *, gpu: bool = False) -> dict[str, list[Held]]:
    """Return stage -> its two moments, as in `Tally.peaks`."""
    kernels = config.model.attention == "sdpa" or (gpu and config.model.attention == "auto")
    adapters = weightless(model, dtype, config.teach, kernels=kernels)
    micro = MicroBatches.of(config.model, Reporter())
    names = [cell.name for cell in adapters.cells]
    return {
        "teach": _step(adapters, names, micro, batches.teach),
        "localize": _step(adapters, names, micro, batches.localize),
        "unlearn": _step(adapters, names[::5], micro, *batches.unlearn),
        "evaluate": _score(adapters, batches.score),
        "answers": _answer(adapters, batches, config.answers.max_new_tokens),
    }


def _tallied(adapters: Adapters, run: Callable[[Any, Tally], Held | None]) -> list[Held]:
    """Run something with adapter "before" and return the bytes of its two moments."""
    model = adapters.model
    weights = [*model.parameters(), *model.buffers()]
    tally = Tally(int(model.get_base_model().config.vocab_size), weights)
    with on_meta(), adapters.active("before") as active, tally:
        more = run(active, tally) or {}
    return [{"activations": float(peak["activations"]), "logits": float(peak["logits"]), **more} for peak in tally.peaks]


def _collated(members: Sequence[Encoded]) -> Batch:
    return collate(members, "meta")


def _step(adapters: Adapters, names: Sequence[str], micro: MicroBatches, *streams: Sequence[Encoded]) -> list[Held]:
    """Run forward and backward with gradients of some cells, cut as the settings say. Several streams have a loss each, as
    in core/pipeline/step_context.py.
    """

    def step(model: Any, _: Tally) -> None:
        cut = [_collated(part) for part in micro.cut([member for members in streams for member in members])]
        if len(streams) == 1:
            for batch in cut:
                mean_loss(answer_logits(model, batch), batch).backward()
            return
        counts = [sum(len(m.answer) for m in members) for members in streams]
        forward = partial(again_when_due, answer_logits) if len(cut) > 1 else answer_logits
        # Kept until the end, for whatever else a method asks of them.
        logits = by_stream([forward(model, batch) for batch in cut], counts)
        targets = _collated([member for members in streams for member in members]).targets.split(counts)
        losses = [token_nll(*stream).mean() for stream in zip(logits, targets, strict=True)]
        torch.stack(losses).sum().backward()

    with adapters.trainable("before", names), micro.keeping(adapters):
        return _tallied(adapters, step)


@torch.no_grad()
def _score(adapters: Adapters, members: Sequence[Encoded]) -> list[Held]:
    def score(model: Any, _: Tally) -> None:
        answer_logits(model, _collated(members))

    return _tallied(adapters, score)


@torch.no_grad()
def _answer(adapters: Adapters, batches: Batches, new: int) -> list[Held]:
    """Read the questions once; the cache that this leaves grows by every token that is answered."""

    def read(model: Any, tally: Tally) -> Held:
        ids = torch.zeros((batches.rows, batches.prompt), dtype=torch.int64, device="meta")
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True, logits_to_keep=1)
        del ids
        left = tally.live["activations"]
        assert output is not None
        return {"cache": left * new / batches.prompt}

    return _tallied(adapters, read)
