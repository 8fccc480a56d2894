"""Does a model fit, before anything of it is loaded: its size from the heads of its files, the memory from the system.

The same sum as core.models.loading makes with torch before it loads, but without torch, so that a page can show it at once.
Knows sizes only of files that are here: a model of the hub that was never fetched has none.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.config.stages import ModelConfig
from core.models import gguf, placement, weight_files
from core.models.device import guessed_device, guessed_dtype
from core.models.names import adapter_base
from core.models.size_limits import free_memory, needed
from core.util.errors import UserError
from core.util.paths import given

KNOWN = {
    "bundled": 134_515_008,
    "meta-llama/Llama-2-7b-chat-hf": 6_738_415_616,
    "Qwen/Qwen1.5-7B-Chat": 7_721_324_544,
}
"""Parameters of the bundled model, whose file takes seconds to look into, and of the paper's, which few have fetched."""
LAYERS = {"bundled": 30, "meta-llama/Llama-2-7b-chat-hf": 32, "Qwen/Qwen1.5-7B-Chat": 32}
"""layers of the same models"""
SIDES = {"bundled": 305_280}
"""rows and columns of all matrices in the layers, added up: what an adapter has at rank 1"""
BYTES = 2
"""of each number of an adapter on the disk"""
_LAYER = re.compile(r"\.(\d+)\.")
"""the first number in a weight's name"""


@dataclass(frozen=True)
class ModelMemory:
    """What a model needs and what there is."""

    parameters: int
    needed: float
    """bytes: weights, a tenth for adapters and gradients, 0.6 GB for libraries; batches come on top"""
    available: float | None
    """bytes; None where the device does not tell"""
    device: str
    dtype: str

    @property
    def fits(self) -> bool:
        """Whether there is enough, as far as is known."""
        return self.available is None or self.needed <= self.available


def model_memory(config: ModelConfig) -> ModelMemory | None:
    """Return the memory a model needs, None where its size is not known here. Raises UserError for a broken adapter."""
    parameters = parameter_count(config.name)
    if parameters is None:
        return None
    device = guessed_device(config.device)
    dtype = guessed_dtype(config.dtype, device)
    bits = placement.bits_while_loading(config, device) or (16 if dtype == "bfloat16" else 32)
    room = None if config.device == "spread" else available(device)  # there the disk takes what is too much
    return ModelMemory(parameters, needed(parameters, bits), room, device, dtype)


def parameter_count(name: str) -> int | None:
    """Count a model's parameters from the heads of its weight files, None where there are none."""
    if name == "bundled":
        return KNOWN[name]
    path = given(name)
    if path.is_file():
        return _gguf(path) if path.suffix.lower() == ".gguf" else None
    if (path / "adapter_config.json").exists():
        return parameter_count(adapter_base(path))
    shapes = _shapes(_files(name)) or {}
    return sum(map(math.prod, shapes.values())) or KNOWN.get(name)


def layer_count(name: str) -> int | None:
    """Count a model's layers by the names of its weights, None where there are none."""
    if name in LAYERS:
        return LAYERS[name]
    layers = [int(match[1]) for weight in _shapes(_files(name)) or () if (match := _LAYER.search(weight))]
    return max(layers) + 1 if layers else None


def adapter_bytes(name: str, rank: int) -> float | None:
    """Return what an adapter of a model takes on the disk, at least; None where the shapes of its weights are not known."""
    sides = SIDES.get(name) or sum(
        sum(shape) for weight, shape in (_shapes(_files(name)) or {}).items() if _LAYER.search(weight) and len(shape) == 2
    )
    return BYTES * rank * sides if sides else None


def _files(name: str) -> list[Path]:
    """Return the safetensors files of a model that are here; of an adapter those of its base."""
    path = given(name)
    if path.is_dir():
        adapter = (path / "adapter_config.json").exists()
        return _files(adapter_base(path)) if adapter else sorted(path.glob("model*.safetensors"))
    return [] if name == "bundled" or path.is_file() else hub_files(name)


def available(device: str) -> float | None:
    """Return free bytes: of the first GPU by nvidia-smi, else of the machine."""
    if device != "cuda":
        return free_memory()
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip() or "0"
    command = [tool, "--query-gpu=memory.free", "--format=csv,noheader,nounits", f"--id={first}"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
        return float(output.split()[0]) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _shapes(paths: Iterable[Path]) -> dict[str, list[int]] | None:
    """Return name -> shape from the heads of safetensors files; None where one cannot be read."""
    shapes: dict[str, list[int]] = {}
    for path in paths:
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                # A longer head is refused when the model is loaded; cut off, it is no JSON.
                head = json.loads(file.read(min(length, weight_files.LARGEST_HEAD)))
            shapes |= {name: list(map(int, entry["shape"])) for name, entry in head.items() if name != "__metadata__"}
        except (
            OSError,
            ValueError,
            struct.error,
            RecursionError,
            AttributeError,
            KeyError,
            TypeError,
        ):  # a head of anything
            return None
    return shapes


def _gguf(path: Path) -> int | None:
    """Add up the tensors of a GGUF file."""
    try:
        return gguf.read(path).elements or None
    except UserError:
        return None


def hub_files(name: str) -> list[Path]:
    """Return the weight files of a hub model that was fetched before."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "snapshots"
    snapshots = sorted(folder.glob("*"), key=lambda path: path.stat().st_mtime) if folder.is_dir() else []
    return sorted(snapshots[-1].glob("model*.safetensors")) if snapshots else []
