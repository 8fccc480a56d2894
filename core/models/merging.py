"""Merge what was taught into the base's weights, so that the knowledge no longer sits in an adapter.

Does unlearning work only because the knowledge was put where it is looked for? With `teach.merge` the taught adapter
becomes part of the base, and localization and unlearning start from a fresh one (whose B is zero, so A has no gradient).
The base as it was stays beside it: switched off adapters still mean "never taught".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from peft.tuners.lora.layer import ParamWrapper
from transformers import PreTrainedModel

from core.config.stages import TeachConfig
from core.models import adapters as adapters_
from core.models.adapter_files import read_tensors
from core.models.adapters import Adapters
from core.models.quantized import Quantized
from core.util.errors import UserError

TAUGHT = "taught"
"""folder, in a run with a merged base, of the adapter that was merged"""


def check_merging(model: torch.nn.Module, fix: str) -> None:
    """Raise UserError for a base whose weights cannot take an adapter in: rounded, or not all in memory."""
    rounded = any(isinstance(layer, Quantized) for layer in model.modules())
    if rounded or any(p.is_meta or not p.is_floating_point() for p in model.parameters()):
        raise UserError("An adapter cannot be merged into weights that are rounded or spread.", fix)


def merged(
    model: PreTrainedModel, dtype: str, folder: Path
) -> tuple[PreTrainedModel, list[tuple[torch.nn.Parameter, torch.Tensor]]]:
    """Add a saved adapter to the base's weights, in their number format; return the base and the weights as they were."""
    check_merging(model, "Set teach.merge=false, or model.weights=full and another model.device.")
    taught = adapters_.load(model, dtype, folder)
    originals = list(fold(taught, "Set teach.merge=false."))
    return taught.model.unload(), originals


@torch.no_grad()
def fold(adapters: Adapters, advice: str) -> Iterator[tuple[torch.nn.Parameter, torch.Tensor]]:
    """Add the adapter "before" to the base's weights, in their number format; yield each weight with what it was.

    Whoever does not keep what was needs no room for it. Raises UserError, with advice, where that cannot be done.
    """
    if any(isinstance(adapters.layer(cell.name), ParamWrapper) for cell in adapters.cells):
        raise UserError("An adapter on fused experts cannot be merged.", advice)
    for name in dict.fromkeys(cell.name for cell in adapters.cells if cell.factor == "A"):
        layer = adapters.layer(name)
        weight = layer.get_base_layer().weight
        was = weight.data
        weight.data = (weight.data.float() + layer.get_delta_weight("before").float()).to(weight.dtype)
        yield weight, was


def attach(model: PreTrainedModel, dtype: str, taught: Path, teach: TeachConfig, seed: int) -> Adapters:
    """Merge a saved adapter and put a fresh one, "before", on the result."""
    base, originals = merged(model, dtype, taught)
    adapters = adapters_.attach(base, dtype, rank=teach.rank, alpha=teach.alpha, dropout=0.0, seed=seed)
    return _on(adapters, originals)


def load(model: PreTrainedModel, dtype: str, run: Path) -> Adapters:
    """Put a run's adapter "before" on the base, which the taught one is merged into where the run says so."""
    if not (run / TAUGHT).is_dir():
        return adapters_.load(model, dtype, run / "before")
    base, originals = merged(model, dtype, run / TAUGHT)
    return _on(adapters_.load(base, dtype, run / "before"), originals)


def both(model: PreTrainedModel, dtype: str, run: Path, after: Path) -> Adapters:
    """Put both adapters of a finished run on the base: "before", and "after" with the tensors that unlearning changed."""
    adapters = load(model, dtype, run)
    adapters.copy("before", "after")
    adapters.set("after", read_tensors(after))
    return adapters


def _on(adapters: Adapters, originals: list[tuple[torch.nn.Parameter, torch.Tensor]]) -> Adapters:
    adapters.originals, adapters.mixable = originals, False
    return adapters
