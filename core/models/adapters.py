"""One base model, several named LoRA adapters: before, after, blends, reverts.

Every adapter tensor is a *cell* of the grid layers × modules, with factor A or B. "Before" is an adapter like any
other: the base with adapters off is the model that was never taught, and is reached only through `active(None)`.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.lora.layer import LoraLayer, ParamWrapper
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel

from core.models.adapter_files import check_plain, content_hash, write_tensors
from core.models.cells import layer_and_module
from core.models.device import device_of, precision
from core.models.fused_lora import fused, unfused
from core.models.placement import on_disk
from core.models.plain_tensors import PREFIX, SUFFIX, cell_name, fresh_rows, grown_alpha
from core.util.errors import UserError, unknown


@dataclass(frozen=True)
class Cell:
    """One adapter tensor's place in the grid."""

    name: str
    """module path and factor, without adapter name: unique, and the key in every file"""
    layer: int
    """first integer in the path"""
    module: str
    """the path after the layer, e.g. self_attn.q_proj"""
    factor: str
    """A or B"""
    shape: tuple[int, ...]


class Adapters:
    """The base in memory with its adapters; all share targets and scale, and rank but for what `widen` adds."""

    def __init__(self, model: PeftModel, dtype: str) -> None:
        """Take over a model that has at least one adapter."""
        self.model = model
        self.dtype = dtype
        self._layers = _lora_layers(model)
        self.cells = self._grid()
        self.mixable = all(isinstance(layer, LoraLinear) for layer in self._layers.values())
        """False for fused experts, other libraries' integers and a merged base: adapters are switched instead of mixed"""
        self.originals: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
        """weights of the base as they were before an adapter was merged into it: see core/models/merging.py"""
        self.unmerged: set[str] = set()
        """adapters that belong on the base as it was"""

    def _grid(self) -> list[Cell]:
        """Return the cells; their shapes are those of the adapter that came first."""
        return [
            Cell(
                f"{path}.lora_{factor}",
                *layer_and_module(path),
                factor,
                tuple(getattr(layer, f"lora_{factor}")[name].weight.shape),
            )
            for path, layer in self._layers.items()
            for name in [next(iter(layer.lora_A))]
            for factor in "AB"
        ]

    @property
    def names(self) -> list[str]:
        """Names of the adapters in memory."""
        return list(self.model.peft_config)

    @property
    def device(self) -> torch.device:
        """Device of the base; of one that is spread, where it begins."""
        return device_of(self.model)

    def layer(self, cell: str) -> LoraLayer:
        """Return the peft layer that holds a cell."""
        return self._layers[cell.rsplit(".lora_", 1)[0]]

    def block(self, layer: int) -> torch.nn.Module:
        """Return a transformer layer. Raises UserError for a number that does not exist."""
        for cell in self.cells:
            if cell.layer == layer and (path := re.match(r"(.*?\.\d+)(?=\.)", cell.name)):
                return self.model.get_base_model().get_submodule(path[1])
        raise UserError(f"This model has no layer {layer}.", f"Choose one from 0 to {max(c.layer for c in self.cells)}.")

    def blocks(self) -> list[torch.nn.Module]:
        """Return all transformer layers in order; none where they stand in more than one row."""
        rows = {path[1] for cell in self.cells if cell.layer >= 0 and (path := re.match(r"(.*?)\.\d+\.", cell.name))}
        return list(self.model.get_base_model().get_submodule(rows.pop()).children()) if len(rows) == 1 else []

    def tensor(self, adapter: str, cell: str) -> torch.nn.Parameter:
        """Return the parameter of one cell of one adapter. Raises UserError for unknown names."""
        path, _, factor = cell.rpartition(".lora_")
        if path not in self._layers:
            raise unknown("tensor", cell, [c.name for c in self.cells])
        weights = getattr(self._layers[path], f"lora_{factor}")
        if adapter not in weights:
            raise unknown("adapter", adapter, self.names)
        return weights[adapter].weight  # type: ignore[no-any-return]

    def tensors(self, adapter: str) -> dict[str, torch.nn.Parameter]:
        """Return all cells of an adapter, in grid order."""
        return {cell.name: self.tensor(adapter, cell.name) for cell in self.cells}

    def set(self, adapter: str, values: dict[str, torch.Tensor]) -> None:
        """Overwrite cells of an adapter; one with less rank than they have is widened first.

        Raises UserError for names or shapes that do not belong to it.
        """
        more = max((rank_of(name, v) - rank_of(name, self.tensor(adapter, name)) for name, v in values.items()), default=0)
        if more > 0:
            self.widen(adapter, more)
        for name, value in values.items():
            target = self.tensor(adapter, name)
            if target.shape != value.shape:
                raise UserError(f"The tensor {name} has shape {tuple(value.shape)}, not {tuple(target.shape)}.", "")
            target.data.copy_(value)

    def copy(self, source: str, target: str) -> None:
        """Make adapter `target` (new or existing) equal to `source`, bit by bit."""
        if target in self.names and self.rank(target) != self.rank(source):
            self.drop(target)
        if target not in self.names:
            with _quiet_peft():
                self.model.add_adapter(target, copy.deepcopy(self.model.peft_config[source]))
            self._settle()
            self.model.requires_grad_(False)
            self.model.train(self.model.training)  # peft makes its dropout as if for training, whatever the model is doing
        self.set(target, {name: p.detach() for name, p in self.tensors(source).items()})

    def fresh(self, adapter: str, like: str, seed: int) -> None:
        """Add an adapter with the settings of another one that changes nothing yet: A drawn from the seed, B zero."""
        self.copy(like, adapter)
        source = torch.Generator().manual_seed(seed)
        for name, parameter in self.tensors(adapter).items():
            if name.endswith("_B"):
                parameter.data.zero_()
            else:
                parameter.data.copy_(_drawn(parameter.shape, source))

    def rank(self, adapter: str) -> int:
        """Return an adapter's rank, with what `widen` added."""
        return int(self.model.peft_config[adapter].r)

    def widen(self, adapter: str, slots: int) -> None:
        """Give an adapter so much fresh rank beside its own: slots in which it changes nothing yet, A drawn and B zero.

        What is drawn follows from the names of the cells alone, so an adapter with slots can be compared and mixed with the
        one that it was made of. Raises UserError for fused experts and for ranks that differ by layer, which cannot grow.
        """
        config = self.model.peft_config[adapter]
        if any(isinstance(layer, ParamWrapper) for layer in self._layers.values()):
            raise no_room()
        if config.rank_pattern or config.alpha_pattern:
            raise UserError(
                "An adapter with a rank or alpha of its own for some layers has no room for fresh rank.",
                "Set unlearn.slots to 0.",
            )
        for cell in self.cells:
            parameter = self.tensor(adapter, cell.name)
            parameter.data = widened(cell.name, parameter.data, slots)
            self.layer(cell.name).r[adapter] = config.r + slots
        # What is applied stays as it was: alpha grows with the rank.
        config.lora_alpha = grown_alpha(config.lora_alpha, config.r, slots, rslora=config.use_rslora)
        config.r += slots
        self.cells = self._grid()

    def value(self, adapter: str, cell: str, rank: int) -> torch.Tensor:
        """Return the values of one cell, with the slots that an adapter of higher rank has, as they were at first."""
        value = self.tensor(adapter, cell).detach()
        return widened(cell, value, rank - self.rank(adapter)) if rank > self.rank(adapter) else value

    def pairs(self, first: str, second: str) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """Yield each cell's name and its values in two adapters, in grid order and in the same shape."""
        rank = max(self.rank(first), self.rank(second))
        for cell in self.cells:
            yield cell.name, self.value(first, cell.name, rank), self.value(second, cell.name, rank)

    def moved(self, source: str = "before", target: str = "after") -> list[str]:
        """Return the cells in which two adapters differ, in grid order."""
        return [name for name, first, second in self.pairs(source, target) if not torch.equal(first, second)]

    def drop(self, adapter: str) -> None:
        """Free an adapter's memory."""
        if adapter in self.names:
            self.model.delete_adapter(adapter)

    def blend(self, target: str, strength: float, before: str = "before", after: str = "after") -> None:
        """Set `target` to before + strength · (after − before), factor by factor."""
        values = {name: torch.lerp(start, end, strength) for name, start, end in self.pairs(before, after)}
        self.copy(before, target)
        self.set(target, values)

    def revert(self, target: str, cells: Iterable[str], before: str = "before", after: str = "after") -> None:
        """Set `target` to after with some cells put back to before: exact, since adapters differ only in cells."""
        self.copy(after, target)
        self.set(target, {cell: self.value(before, cell, self.rank(target)) for cell in cells})

    @contextlib.contextmanager
    def active(self, adapter: str | None) -> Iterator[PeftModel]:
        """Compute with one adapter, through fused layers; None switches all adapters off (never taught)."""
        with precision(self.model, self.dtype):
            if adapter is None:
                with unfused(self.model), self._unmerged(), _switched_off(self.model):
                    yield self.model
                return
            if adapter not in self.names:
                raise unknown("adapter", adapter, self.names)
            base = self._unmerged() if adapter in self.unmerged else contextlib.nullcontext()
            with base, _frozen_switch(self.model, adapter), fused(self.model, adapter, self.dtype):
                yield self.model

    @contextlib.contextmanager
    def _unmerged(self) -> Iterator[None]:
        merged = [weight.data for weight, _ in self.originals]
        try:
            for weight, original in self.originals:
                weight.data = original
            yield
        finally:
            for (weight, _), data in zip(self.originals, merged, strict=True):
                weight.data = data

    def release(self) -> PreTrainedModel:
        """Take all adapters off and return the base as it was loaded; this object is of no use afterwards."""
        for weight, original in self.originals:
            weight.data = original
        return self.model.unload()  # type: ignore[no-any-return]

    @contextlib.contextmanager
    def trainable(self, adapter: str, cells: Iterable[str]) -> Iterator[list[torch.nn.Parameter]]:
        """Give gradients to exactly these cells; afterwards to none. Backward then stops at the lowest of them."""
        parameters = [self.tensor(adapter, cell) for cell in cells]
        try:
            for parameter in parameters:
                parameter.requires_grad_(True)
            yield parameters
        finally:
            for parameter in parameters:
                parameter.requires_grad_(False)
                parameter.grad = None

    @contextlib.contextmanager
    def dropout(self, adapter: str, share: float) -> Iterator[torch.nn.ModuleList]:
        """Within this context an adapter's linear layers drop a share of what enters them; 0: nothing.

        Begin it before `active`, which takes a shorter way through layers that drop nothing. Yields the modules that do it,
        at work: `eval` stops them for a while. Fused experts drop nothing.
        """
        layers = [layer for layer in self._layers.values() if isinstance(layer, LoraLinear)] if share else []
        outer = [layer.lora_dropout[adapter] for layer in layers]
        for layer in layers:
            layer.lora_dropout[adapter] = torch.nn.Dropout(share)
        try:
            yield torch.nn.ModuleList([layer.lora_dropout[adapter] for layer in layers])
        finally:
            for layer, module in zip(layers, outer, strict=True):
                layer.lora_dropout[adapter] = module

    def hash(self, adapter: str) -> str:
        """Return the SHA-256 of names, shapes and contents."""
        return content_hash({name: p.detach() for name, p in self.tensors(adapter).items()})

    def round_to_bfloat16(self, adapter: str) -> None:
        """Round in place, so that what is written in half the space is what was measured."""
        for parameter in self.tensors(adapter).values():
            parameter.data.copy_(parameter.data.to(torch.bfloat16))

    def save(self, adapter: str, folder: Path, base: str) -> None:
        """Write adapter_config.json and adapter_model.safetensors, as peft would, in bfloat16 where that is exact."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {**self.model.peft_config[adapter].to_dict(), "base_model_name_or_path": base, "inference_mode": True}
        text = json.dumps(config, indent=1, default=_listed, sort_keys=True)
        (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
        values = {f"{PREFIX}{name}{SUFFIX}": p.detach().cpu() for name, p in self.tensors(adapter).items()}
        write_tensors(values, folder / "adapter_model.safetensors")

    def _settle(self) -> None:
        """Put adapters into float32, and into memory: peft leaves those of layers on disk where their weights are."""
        for layer in self._layers.values():
            layer.lora_A.float()
            layer.lora_B.float()
            away = on_disk(layer.get_base_layer())
            for name in [name for name, part in layer.lora_A.items() if away and part.weight.device.type == "meta"]:
                device = layer.get_base_layer()._hf_hook.execution_device
                layer.lora_A[name].to_empty(device=device)
                layer.lora_B[name].to_empty(device=device)
                layer.reset_lora_parameters(name, init_lora_weights=True)


def attach(model: PreTrainedModel, dtype: str, *, rank: int, alpha: float, dropout: float, seed: int) -> Adapters:
    """Put a fresh adapter "before" on all linear layers (and fused experts). Its B is zero: it changes nothing yet."""
    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear")  # type: ignore[arg-type]
    if experts := fused_experts(model):
        # Fused experts are 3-D parameters without a module of their own: peft takes them by name, without dropout.
        config.lora_dropout = 0.0
        config.target_parameters = sorted({re.sub(r"^.*?\.\d+\.", "", name) for name in experts})
    return wrap(model, dtype, config)


def fused_experts(model: PreTrainedModel) -> list[str]:
    """Return the names of a base's weights that hold many experts in one."""
    return [name for name, p in model.named_parameters() if p.ndim == 3 and ".experts." in name]


def no_room() -> UserError:
    """Return the refusal of fresh rank for a base with such weights."""
    return UserError("An adapter on fused experts has no room for fresh rank.", "Set unlearn.slots to 0.")


def wrap(model: PreTrainedModel, dtype: str, config: LoraConfig, name: str = "before") -> Adapters:
    """Put a fresh adapter of a configuration on the base."""
    with _quiet_peft():
        return _prepared(get_peft_model(model, config, adapter_name=name, autocast_adapter_dtype=True), dtype)  # type: ignore[arg-type]


def load(model: PreTrainedModel, dtype: str, folder: Path, name: str = "before") -> Adapters:
    """Put a saved adapter on the base. Raises UserError for one that is damaged or has other layers or shapes.

    One of another base with equal shapes is not recognised here: see core/models/names.py.
    """
    try:
        config = LoraConfig.from_pretrained(str(folder))
        values = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise UserError(f"The adapter {folder} cannot be read ({error}).", "Save it again, or teach anew.") from None
    check_plain(config, values, folder.name)
    config.inference_mode = False
    try:
        adapters = wrap(model, dtype, config, name)
        adapters.set(name, {cell_name(key): value for key, value in values.items()})
    except (UserError, ValueError, RuntimeError) as error:
        raise UserError(
            f"The adapter {folder.name} does not fit this base model: {error}", "Choose the base it was made for."
        ) from None
    missing = {cell.name for cell in adapters.cells} - {cell_name(key) for key in values}
    if missing:
        raise UserError(
            f"The adapter {folder.name} lacks {len(missing)} tensors of this base model.", "Choose its own base."
        )
    return adapters


def _prepared(model: Any, dtype: str) -> Adapters:
    adapters = Adapters(model, dtype)
    adapters._settle()
    model.requires_grad_(False)
    model.eval()
    return adapters


def _lora_layers(model: torch.nn.Module) -> dict[str, LoraLayer]:
    """Find peft's layers by a readable path: fused experts get their parameter's name instead of nested wrappers."""
    layers: dict[str, LoraLayer] = {}
    for path, module in model.named_modules():
        if isinstance(module, LoraLayer) and len(module.lora_A):
            path = path.removeprefix(PREFIX)
            if isinstance(module, ParamWrapper):
                path = f"{path.replace('.base_layer', '')}.{module.parameter_name}"
            layers[path] = module
    return dict(sorted(layers.items(), key=lambda item: (layer_and_module(item[0])[0], list(layers).index(item[0]))))


def rank_of(cell: str, value: torch.Tensor) -> int:
    """Return the rank of a factor: rows of A, columns of B."""
    return value.shape[0] if cell.endswith("_A") else value.shape[1]


def _drawn(shape: Sequence[int], source: torch.Generator) -> torch.Tensor:
    """Return an A as peft draws it: kaiming_uniform_ with a = √5, which is ± 1/√(inputs)."""
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return torch.empty(*shape).uniform_(-bound, bound, generator=source)


def widened(cell: str, value: torch.Tensor, slots: int) -> torch.Tensor:
    """Return a factor with fresh rank: new rows of A, drawn, or new columns of B, zero."""
    if cell.endswith("_B"):
        return torch.cat([value, value.new_zeros(len(value), slots)], dim=1)
    return torch.cat([value, torch.from_numpy(fresh_rows(cell, slots, value.shape[1])).to(value)])


def _listed(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(value)


@contextlib.contextmanager
def _same_gradients(model: PeftModel) -> Iterator[None]:
    """Let those parameters that have gradients now have them afterwards: peft turns them on as it turns adapters on."""
    wanted = {p for p in model.parameters() if p.requires_grad}
    try:
        yield
    finally:
        for parameter in model.parameters():
            parameter.requires_grad_(parameter in wanted)


@contextlib.contextmanager
def _switched_off(model: PeftModel) -> Iterator[None]:
    """Switch all adapters off, and on again."""
    with _same_gradients(model), model.disable_adapter():
        yield


@contextlib.contextmanager
def _frozen_switch(model: PeftModel, adapter: str) -> Iterator[None]:
    """Switch the active adapter, and back."""
    previous = model.active_adapter
    with _same_gradients(model):
        model.set_adapter(adapter)
    try:
        yield
    finally:
        with _same_gradients(model):
            model.set_adapter(previous)


@contextlib.contextmanager
def _quiet_peft() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="peft")
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
        yield
