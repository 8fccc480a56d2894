"""What one pass of gradients says about the update ΔW = s·B·A that each module applies, whatever its factors are.

For y = W x + ΔW x the gradient with respect to ΔW is that with respect to W: G = Σ δ ⊗ x over all tokens, with the module's
input x and the gradient δ of its output. Both are seen by hooks while a loss is differentiated for the factors anyway.

G has as many elements as W: 4 bytes each, four times over (two scopes, two losses): 1.7 GB for a model of 135 million
parameters, and a third more work in every backward pass. So by default only G·Ω is kept, (outputs, SKETCH), where the
entries of Ω (inputs, SKETCH) are ± 1/√SKETCH, drawn once for each module from the seed. Of what is computed from it,
squared lengths and inner products are right on average over draws: E⟨G Ω, H Ω⟩ = ⟨G, H⟩, and the standard deviation of
|G Ω|² is at most √(2 / SKETCH) · |GᵀG|_F ≤ √(2 / SKETCH) · |G|², the latter for a G of rank one; with n equally long
directions √n times less. The same Ω serves all scopes and losses, so errors of what is compared largely cancel. With
sketch 0 everything is exact. ⟨G, ΔW⟩ needs neither: it is Σ (s Bᵀδ)·(A x), always exact.

The margin is a second loss, differentiated once more. Batches are of examples of about one length, in order: of each three
of them the middle one's margin is taken, so that short and long ones have their share.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from peft.tuners.lora.layer import ParamWrapper
from torch.nn.utils.rnn import pad_sequence

from core.localization.facts import Flags
from core.localization.margin import margins
from core.models.adapters import Adapters
from core.models.cells import layer_and_module
from core.models.distributed import ALONE, Group
from core.models.likelihood import answer_logits
from core.models.micro_batches import for_the_way_back
from core.models.tokens import Batch, Encoded, by_length, collate, cost

SKETCH, EVERY = 64, 3
LABELS, MARGIN = "labels", "margin"
"""the losses: towards random answers, and the margin of the true ones' fact tokens"""
SCOPES = ("unlearn", "retention")


@dataclass(frozen=True)
class Sums:
    """Of one scope and one loss, by module, over all tokens."""

    examples: torch.Tensor
    """() whose margin was taken; that of random answers is a mean over all perturbed ones already"""
    gradient: dict[str, torch.Tensor]
    """G·Ω (outputs, sketch), or G (outputs, inputs) where it is exact"""
    squares: dict[str, torch.Tensor]
    """() Σ |g|² of the examples' parts of G"""
    along: dict[str, torch.Tensor]
    """() ⟨G, ΔW⟩"""

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All of them, in a fixed order."""
        parts = (self.gradient, self.squares, self.along)
        return [self.examples, *(part[name] for part in parts for name in sorted(part))]


class Recorder:
    """Adds up, while it is entered, what backward passes say about the update of each module of adapter "before".

    Fused experts have no input and output of their own, so of them nothing but ‖ΔW‖ is known. A module that a pass goes
    through twice counts as two examples in `squares`.
    """

    def __init__(
        self,
        adapters: Adapters,
        facts: Flags,
        *,
        seed: int,
        sketch: int = SKETCH,
        every: int = EVERY,
        gradients: bool = True,
    ) -> None:
        """Begin with nothing recorded.

        facts: which answer tokens the margin is taken of; sketch: columns of Ω, 0: exact; every: of so many batches one has
        its margin taken; gradients: keep G of both losses; without, what is known in the end is ⟨M, ΔW⟩ and ‖ΔW‖, for a
        fraction of the time.
        """
        self.gradients = gradients
        self.every = every
        self.adapters, self.facts, self.seed, self.sketch = adapters, facts, seed, sketch
        self.names = list(dict.fromkeys(cell.name.rsplit(".lora_", 1)[0] for cell in adapters.cells))
        layers = {name: adapters.layer(f"{name}.lora_A") for name in self.names}
        self.layers: dict[str, Any] = {n: layer for n, layer in layers.items() if not isinstance(layer, ParamWrapper)}
        self.sums: dict[tuple[str, str], Sums] = {}
        self._perturbed: dict[str, int] = {}
        self._projections: dict[str, torch.Tensor] = {}
        self._into: Sums | None = None
        self._batch: Batch | None = None

    def begin(self, scope: str, perturbed: int) -> None:
        """Take up a scope: how many perturbed examples all processes together go through."""
        self.scope = scope
        self._perturbed[scope] = perturbed
        self.sums |= {(scope, LABELS): self._nothing(), (scope, MARGIN): self._nothing()}

    def sampled(self, batches: Sequence[Sequence[Encoded]]) -> set[int]:
        """Return the numbers of the batches whose margin is taken, of those that have facts."""
        told = [number for number, members in enumerate(batches) if any(any(self._flags(m)) for m in members)]
        return set(told[min(self.every // 2, max(0, len(told) - 1)) :: self.every])

    def __enter__(self) -> Recorder:
        self._handles = [layer.register_forward_hook(self._watch(name)) for name, layer in self.layers.items()]
        return self

    def __exit__(self, *_: Any) -> None:
        for handle in self._handles:
            handle.remove()

    def backward(self, batch: Batch, loss: torch.Tensor, logits: torch.Tensor, *, margin: bool) -> None:
        """Differentiate a batch's share of the loss as `loss.backward()` does, and where wanted its margin; record both."""
        if margin:
            self.margin(batch, logits, more=True)
        with self._recording(LABELS, batch) if self.gradients else contextlib.nullcontext():
            loss.backward()

    def margin(self, batch: Batch, logits: torch.Tensor, *, more: bool = False) -> None:
        """Differentiate the margin of a batch's fact tokens alone. Parameters get no gradient of it.

        more: the forward pass is differentiated once more afterwards.
        """
        wanted = torch.tensor([flag for m in batch.members for flag in self._flags(m)], device=logits.device)
        if not wanted.any():
            return
        value = margins(logits, batch, wanted).sum()
        self.sums[self.scope, MARGIN].examples.add_(len(batch.owners[wanted].unique()))
        # Asked for, and thrown away: every module's output lies on the way to its own B.
        ends = [layer.lora_B["before"].weight for layer in self.layers.values()]
        with self._recording(MARGIN, batch):
            torch.autograd.grad(value, ends, retain_graph=more, allow_unused=True)

    def margins_alone(self, members: Sequence[Encoded], size: int, done: Callable[[int, int], None], group: Group) -> None:
        """Take the margin of a scope's true answers in passes of their own, where the others have other inputs.

        size: examples per pass; done: told (examples, tokens) after each.
        """
        names = [f"{name}.lora_B" for name in self.layers]
        with self.adapters.trainable("before", names), self.adapters.active("before") as model, self:
            parts = by_length(group.shard(members, cost), size)
            sampled = self.sampled(parts)
            for number, part in enumerate(parts):
                batch = collate(part, self.adapters.device)
                if number in sampled:
                    self.margin(batch, answer_logits(model, batch))
                done(len(part), batch.ids.numel())

    def record(self, group: Group = ALONE) -> pd.DataFrame:
        """Return one row a module: name, layer, module, rows, columns, and what core/localization/scores.py lists."""
        for sums in self.sums.values():
            for tensor, total in zip(sums.tensors, group.all_reduce(sums.tensors), strict=True):
                tensor.copy_(total)
        for scope in SCOPES:
            margin = self.sums[scope, MARGIN]
            for part in (*margin.gradient.values(), *margin.along.values()):
                part.div_(margin.examples.clamp(min=1))
        return pd.DataFrame([self._row(name) for name in self.names])

    # -- one batch --------------------------------------------------------------------------------------------------

    def _flags(self, member: Encoded) -> tuple[bool, ...]:
        return self.facts.get(member.id) or (False,) * len(member.answer)

    @contextlib.contextmanager
    def _recording(self, loss: str, batch: Batch) -> Iterator[None]:
        self._into, self._batch = self.sums[self.scope, loss], batch
        try:
            yield
        finally:
            self._into = self._batch = None

    def _watch(self, name: str) -> Callable[..., None]:
        def after_forward(layer: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            x = for_the_way_back(args[0])
            output.register_hook(lambda delta: self._collect(name, layer, x(), delta))

        return after_forward

    @torch.no_grad()
    def _collect(self, name: str, layer: Any, x: torch.Tensor, delta: torch.Tensor) -> None:
        if self._into is None:
            return
        # Under autocast these products would be rounded to bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            x, delta = self._by_example(x.float()), self._by_example(delta.float())
            a, b, scale = layer.lora_A["before"].weight, layer.lora_B["before"].weight, layer.scaling["before"]
            self._into.along[name] += scale * ((delta @ b) * (x @ a.t())).sum()
            if not self.gradients:
                return
            if self._sketched(layer):
                parts = delta.mT @ (x @ self._projection(name, layer))
                self._into.gradient[name] += parts.sum(0)
                self._into.squares[name] += parts.square().sum()
            else:
                self._into.gradient[name] += delta.flatten(0, 1).t() @ x.flatten(0, 1)
                self._into.squares[name] += ((delta @ delta.mT) * (x @ x.mT)).sum()

    def _by_example(self, values: torch.Tensor) -> torch.Tensor:
        """Return (examples, positions, width). OPT flattens the first two; the output layer has answer positions alone."""
        batch, flat = self._batch, values.flatten(0, -2)
        assert batch is not None
        if len(flat) == len(batch.owners) != batch.ids.numel():
            return pad_sequence([flat[batch.owners == row] for row in range(len(batch))], batch_first=True)
        return values.reshape(len(batch), -1, values.shape[-1])

    # -- what is kept -----------------------------------------------------------------------------------------------

    def _sketched(self, layer: Any) -> bool:
        return 0 < self.sketch < layer.lora_A["before"].weight.shape[1]

    def _projection(self, name: str, layer: Any) -> torch.Tensor:
        """Return Ω (inputs, sketch) of a module."""
        if name not in self._projections:
            weight = layer.lora_A["before"].weight
            source = torch.Generator().manual_seed(_number(self.seed, name))
            signs = torch.randint(2, (weight.shape[1], self.sketch), generator=source, dtype=torch.float32)
            self._projections[name] = ((2 * signs - 1) / math.sqrt(self.sketch)).to(weight.device)
        return self._projections[name]

    def _nothing(self) -> Sums:
        gradient, zeros = {}, [dict[str, torch.Tensor](), dict[str, torch.Tensor]()]
        for name, layer in self.layers.items():
            a, b = layer.lora_A["before"].weight, layer.lora_B["before"].weight
            width = self.sketch if self._sketched(layer) else a.shape[1]
            gradient[name] = torch.zeros(b.shape[0], width if self.gradients else 0, device=b.device)
            for part in zeros:
                part[name] = torch.zeros((), device=b.device)
        return Sums(torch.zeros((), device=self.adapters.device), gradient, *zeros)

    def _row(self, name: str) -> dict[str, Any]:
        layer, module = layer_and_module(name)
        shape = [self.adapters.tensor("before", f"{name}.lora_{factor}").shape for factor in "BA"]
        row = {
            "name": name,
            "layer": layer,
            "module": module,
            "rows": shape[0][0],
            "columns": shape[1][1],
            "norm_update": norm_of_update(self.adapters, name),
            "draw": np.random.default_rng(_number(self.seed, name)).random(),
        }
        known = name in self.layers
        for scope, suffix in zip(SCOPES, ("unlearn", "retain"), strict=True):
            margin = self.sums[scope, MARGIN]
            row[f"removal_{suffix}"] = float(margin.along[name]) if known and margin.examples else math.nan
        if not self.gradients:
            return row
        row |= self._compared(name, LABELS, ("norm_unlearn", "norm_retain", "cos"), known)
        row |= self._compared(name, MARGIN, ("margin_unlearn", "margin_retain", "margin_cos"), known)
        for scope, suffix in zip(SCOPES, ("unlearn", "retain"), strict=True):
            # An example's part of G is 1/examples of its own gradient.
            squares = float(self.sums[scope, LABELS].squares[name]) if known else math.nan
            row[f"squares_{suffix}"] = squares * self._perturbed[scope]
        return row

    def _compared(self, name: str, loss: str, columns: tuple[str, str, str], known: bool) -> dict[str, float]:
        """Return both lengths and the cosine; NaN where either scope has no gradient."""
        if known:
            u, r = (self.sums[scope, loss].gradient[name].double().flatten() for scope in SCOPES)
            lengths = float(u.norm()), float(r.norm())
            if all(lengths):
                cos = float(u @ r) / (lengths[0] * lengths[1])
                return dict(zip(columns, (*lengths, max(-1.0, min(1.0, cos))), strict=True))
        return dict.fromkeys(columns, math.nan)


@torch.no_grad()
def norm_of_update(adapters: Adapters, name: str) -> float:
    """Return ‖ΔW‖ of a module, from its factors alone where it is linear: ‖BA‖² = ⟨BᵀB, AAᵀ⟩."""
    layer: Any = adapters.layer(f"{name}.lora_A")
    if isinstance(layer, ParamWrapper):
        return float(layer.get_delta_weight("before").double().norm())
    a, b = (adapters.tensor("before", f"{name}.lora_{factor}").double() for factor in "AB")
    return float(layer.scaling["before"] * ((b.t() @ b) * (a @ a.t())).sum().clamp(min=0).sqrt())


def _number(seed: int, name: str) -> int:
    # Seven bytes, because a seed must stay below 2^63.
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7], "big")
