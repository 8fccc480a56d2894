"""How a base's frozen weights are kept, and on what: full or rounded, on one device or spread over all there are.

Adapters are never rounded. On a GPU with bitsandbytes its integers are used; everywhere else our own
(core/models/quantized.py), for which the whole model is read first. Spreading is accelerate's device_map: GPUs, then memory,
then disk. loading.py does what is said here; this imports no torch, because forms and estimates read it.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from core.config.stages import ModelConfig
from core.util.errors import UserError

if TYPE_CHECKING:
    import torch

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


def on_disk(layer: torch.nn.Module) -> bool:
    """Say whether a layer's weights lie on disk: accelerate left what fetches them. Without that it has no weights at
    all.
    """
    return "_hf_hook" in vars(layer) and any(p.is_meta for p in layer.parameters(recurse=False))
