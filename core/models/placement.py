"""How a base's frozen weights are kept, and on what: full or rounded, on one device or spread over all there are.

Adapters are never rounded. On a GPU with bitsandbytes its integers are used; everywhere else our own
(core/models/quantized.py), for which the whole model is read first. Spreading is accelerate's device_map: GPUs, then memory,
then disk.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import weakref
from typing import TYPE_CHECKING, Any

from core.config.stages import ModelConfig
from core.util.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ROUNDED = {"8bit": (8, 0), "4bit": (4, 64)}
"""setting -> bits, and the weights of a row that share a scale (0: all of them)"""


def check(config: ModelConfig, device: str) -> None:
    """Raise UserError for what cannot be combined. device: cpu, cuda or mps."""
    if config.device == "spread" and config.weights != "full" and not with_bitsandbytes(config, device):
        raise UserError(
            "Rounding the weights of a model that is spread needs bitsandbytes and a GPU.",
            "Set model.weights=full or another model.device.",
        )


def with_bitsandbytes(config: ModelConfig, device: str) -> bool:
    """Say whether bitsandbytes rounds the weights while they are read."""
    return config.weights != "full" and device == "cuda" and importlib.util.find_spec("bitsandbytes") is not None


def bits_while_loading(config: ModelConfig, device: str) -> int:
    """Return the bits of each weight in memory while a model is read, 0 for those of its number format."""
    return ROUNDED[config.weights][0] if with_bitsandbytes(config, device) else 0


def options(config: ModelConfig, device: str, dtype: torch.dtype) -> dict[str, Any]:
    """Return what from_pretrained is to be told."""
    found: dict[str, Any] = {}
    if with_bitsandbytes(config, device):
        from transformers import BitsAndBytesConfig

        bits, _ = ROUNDED[config.weights]
        found["device_map"] = {"": device}
        found["quantization_config"] = BitsAndBytesConfig(
            load_in_8bit=bits == 8, load_in_4bit=bits == 4, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    if config.device == "spread":
        from accelerate.utils import get_max_memory

        room = get_max_memory()
        if limit := os.environ.get("FORGETSCOPE_MEMORY_LIMIT"):
            room["cpu"] = int(float(limit))
        found |= {"device_map": "auto", "max_memory": room, "offload_folder": tempfile.mkdtemp(prefix="forgetscope-spread-")}
    return found


def settle(model: PreTrainedModel, config: ModelConfig, device: str, told: dict[str, Any]) -> None:
    """Round and move what from_pretrained left whole and in memory. told: what it had been told."""
    if folder := told.get("offload_folder"):
        weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
    if config.weights != "full" and "quantization_config" not in told:
        from core.models.quantized import round_base

        round_base(model, *ROUNDED[config.weights])
    if "device_map" not in told:
        model.to(device)  # type: ignore[arg-type]


def check_merging(model: torch.nn.Module, fix: str) -> None:
    """Raise UserError for a base whose weights cannot take an adapter in: rounded, or not all in memory."""
    from core.models.quantized import Quantized

    rounded = any(isinstance(layer, Quantized) for layer in model.modules())
    if rounded or any(p.is_meta or not p.is_floating_point() for p in model.parameters()):
        raise UserError("An adapter cannot be merged into weights that are rounded or spread.", fix)


def on_disk(layer: torch.nn.Module) -> bool:
    """Say whether a layer's weights lie on disk: accelerate left what fetches them. Without that it has no weights at
    all.
    """
    return "_hf_hook" in vars(layer) and any(p.is_meta for p in layer.parameters(recurse=False))
