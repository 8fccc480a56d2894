"""On what a model computes, and in which number format: what `auto` means, and autocast.

The `guessed_` functions look at files alone, for pages and estimates; the `pick_` functions ask torch, in the worker.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from core.util.errors import UserError

if TYPE_CHECKING:
    import torch


def guessed_device(device: str) -> str:
    """Return the device that `auto` will be, or where `spread` begins; the worker decides, this only looks for a GPU's
    file.
    """
    if device not in ("auto", "spread"):
        return device
    return "cuda" if any(Path("/dev").glob("nvidia[0-9]*")) else "mps" if sys.platform == "darwin" else "cpu"


def guessed_dtype(dtype: str, device: str) -> str:
    """Return the number format that `auto` will be: bfloat16 where the processor multiplies it."""
    if dtype != "auto":
        return dtype
    if device == "cpu":
        try:
            native = "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            native = False
        return "bfloat16" if native else "float32"
    return "bfloat16" if device == "cuda" else "float32"


def pick_device(device: str) -> str:
    """Return cpu, cuda or mps; of a model that is spread, where it begins. Raises UserError for one that is not there."""
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device in ("auto", "spread"):
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[device]:
        raise not_there(device)
    return device


def may_be_there(device: str) -> bool:
    """Say whether this machine may have a device that settings name; only torch knows whether it can be used."""
    if device == "cuda":  # of NVIDIA, of Windows below Linux, of AMD
        return any(any(Path("/dev").glob(name)) for name in ("nvidia[0-9]*", "dxg", "kfd"))
    return device != "mps" or sys.platform == "darwin"


def not_there(device: str) -> UserError:
    """Return what to say of a device that is not there."""
    return UserError(f"This machine has no usable {device} device.", "Choose device auto or cpu.")


def pick_dtype(dtype: str, device: str) -> str:
    """Resolve auto: bfloat16 where the hardware multiplies it natively, else float32."""
    import torch

    if dtype != "auto":
        return dtype
    device = pick_device(device)
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    if device == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return "bfloat16"
    return "float32"


def weight_dtype(dtype: str) -> torch.dtype:
    """Return the type in which the frozen weights are kept."""
    import torch

    return torch.bfloat16 if dtype == "bfloat16" else torch.float32


@contextlib.contextmanager
def precision(model: torch.nn.Module, dtype: str) -> Iterator[None]:
    """Enter autocast to bfloat16 where the run asks for it; otherwise do nothing."""
    import torch

    if dtype != "autocast":  # and a model without weights, on the meta device, could not even be asked
        yield
        return
    device = next(p.device.type for p in model.parameters() if p.device.type != "meta")
    with torch.autocast(device, torch.bfloat16):
        yield


def device_of(model: torch.nn.Module) -> torch.device:
    """Return where a model is; of one that is spread, where it begins."""
    devices = [p.device for p in model.parameters()]
    return next((device for device in devices if device.type != "meta"), devices[0])
