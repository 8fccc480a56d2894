"""LoRA adapters made elsewhere, brought to one form, so that they become voices on one base.

An adapter adds s·B·A to a weight, s = alpha / rank (alpha / √rank with rslora). Ours share rank, alpha and targets: so
factors are filled up with zeros to the highest rank, B takes the ratio of the scales, and where an adapter lacks a target
its B is 0. Each still adds what it added; where scales are equal, to the bit. Knows nothing of runs and data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from transformers import PreTrainedModel

from core.models import adapter_files
from core.models import adapters as adapters_
from core.models.adapters import Adapters
from core.util.errors import UserError


@dataclass(frozen=True)
class Given:
    """A saved adapter as it was read."""

    name: str
    factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    """module path -> A (rank, in), B (out, rank), float32"""
    scales: Mapping[str, float]
    """module path -> what B·A is multiplied by"""


def read(folder: Path) -> Given:
    """Read a saved adapter. Raises UserError for a damaged one, and for kinds that are more than B·A."""
    try:
        config = LoraConfig.from_pretrained(str(folder))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"The adapter {folder} cannot be read ({error}).", "It must be a LoRA adapter as peft saves it."
        ) from None
    values = adapter_files.read_tensors(folder / "adapter_model.safetensors")
    adapter_files.check_plain(config, values, folder.name)
    halves: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in values.items():
        name_parts = adapter_files.factor(key)
        if name_parts is None or value.ndim != 2:
            raise UserError(f"The adapter {folder.name} is more than low-rank factors ({key}).", adapter_files.MERGE)
        halves.setdefault(name_parts[0], {})[name_parts[1]] = value
    whole = {name: (half["A"], half["B"]) for name, half in halves.items() if len(half) == 2 and _fit(**half)}
    if not whole or len(whole) < len(halves):
        raise UserError(f"The adapter {folder.name} lacks tensors.", "Save it again.")
    return Given(folder.name, whole, {name: _scale(config, name, len(a)) for name, (a, _) in whole.items()})


def attach(model: PreTrainedModel, dtype: str, folders: Mapping[str, Path | None]) -> Adapters:
    """Put adapters on their base as voices; None is the base itself. Raises UserError for one that does not fit.

    folders: voice -> adapter folder. The voices share rank, alpha and targets afterwards; see the module's docstring.
    """
    given = {voice: read(folder) for voice, folder in folders.items() if folder is not None}
    if not given:  # a whole model speaks as itself: B of a fresh adapter is 0
        adapters = adapters_.attach(model, dtype, rank=1, alpha=1.0, dropout=0.0, seed=0)
        for voice in folders:
            adapters.copy("before", voice)
        return adapters
    first = next(iter(folders))
    paths = list(dict.fromkeys(path for adapter in given.values() for path in adapter.factors))
    rank = max(len(a) for adapter in given.values() for a, _ in adapter.factors.values())
    scales = {scale for adapter in given.values() for scale in adapter.scales.values()}
    scale = scales.pop() if len(scales) == 1 else 1.0
    name = " and ".join(dict.fromkeys(adapter.name for adapter in given.values()))
    try:
        for path in paths:
            model.get_submodule(path)  # peft passes over targets that are not there
        config = LoraConfig(r=rank, lora_alpha=scale * rank, target_modules=paths)  # type: ignore[arg-type]
        adapters = adapters_.wrap(model, dtype, config, first)
        for voice in folders:
            adapters.copy(first, voice)
            adapters.set(voice, _common(voice, given, paths, rank, scale))
    except (UserError, AttributeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"The adapter {name} does not fit this base model: {error}", "Choose the base it was made for."
        ) from None
    return adapters


def _common(voice: str, given: Mapping[str, Given], paths: list[str], rank: int, scale: float) -> dict[str, torch.Tensor]:
    """Return a voice's tensors in the common form; an A that it lacks is another's, so that only B differs there."""
    tensors: dict[str, torch.Tensor] = {}
    for path in paths:
        owner = given.get(voice)
        here = owner is not None and path in owner.factors
        owner = (
            owner if owner is not None and here else next(adapter for adapter in given.values() if path in adapter.factors)
        )
        a, b = owner.factors[path]
        wide_a, wide_b = a.new_zeros(rank, a.shape[1]), b.new_zeros(b.shape[0], rank)
        wide_a[: len(a)] = a
        if here:
            wide_b[:, : b.shape[1]] = b * (owner.scales[path] / scale)
        tensors |= {f"{path}.lora_A": wide_a, f"{path}.lora_B": wide_b}
    return tensors


def _fit(A: torch.Tensor, B: torch.Tensor) -> bool:
    return A.shape[0] == B.shape[1]


def _scale(config: Any, path: str, rank: int) -> float:
    """Return what peft multiplies B·A by (peft.tuners.lora.layer, update_layer)."""
    alpha = float(config.alpha_pattern.get(get_pattern_key(config.alpha_pattern, path), config.lora_alpha))
    return alpha / rank**0.5 if config.use_rslora else alpha / rank
