"""Adapters as files: safetensors of low-rank factors, and what makes an adapter one that can be read.

Nothing here knows a model; `core.models.adapters` puts the tensors on one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from core.models.plain_tensors import PREFIX, SUFFIX, cell_name, hash_of
from core.util import failure_sentences
from core.util.errors import UserError

_KEY = re.compile(rf"{re.escape(PREFIX)}(.+)\.lora_([AB]){re.escape(SUFFIX)}")
MERGE = "Merge it into its base (peft: merge_and_unload), save that, and give the folder."


def factor(key: str) -> tuple[str, str] | None:
    """Return the module path and the factor, A or B, of a saved tensor's name; None for anything else."""
    match = _KEY.fullmatch(key)
    return (match[1], match[2]) if match else None


def check_plain(config: LoraConfig, keys: Iterable[str], name: str) -> None:
    """Raise UserError for an adapter that is more than B·A on an unchanged base: all else would be lost or counted twice."""
    if config.init_lora_weights not in (True, False, "gaussian"):
        raise UserError(f"The adapter {name} changes its base when it is put on ({config.init_lora_weights}).", MERGE)
    for key in keys:
        if factor(key) is None:
            raise UserError(f"The adapter {name} is more than low-rank factors ({key}).", MERGE)
    if config.use_dora or config.lora_bias:
        raise UserError(f"The adapter {name} is more than low-rank factors (DoRA or a bias).", MERGE)


def content_hash(values: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of tensors by name, the same as plain_tensors.content_hash."""
    return hash_of((name, values[name].detach().float().cpu().numpy()) for name in sorted(values))


def write_tensors(values: dict[str, torch.Tensor], path: Path) -> None:
    """Write safetensors, each tensor in bfloat16 where that loses nothing, else in float32."""
    exact = {
        n: v.to(torch.bfloat16) if torch.equal(v.to(torch.bfloat16).float(), v.float()) else v for n, v in values.items()
    }
    try:
        # Cloned: safetensors refuses tensors that share memory, as tied ones do.
        save_file({name: value.contiguous().clone() for name, value in exact.items()}, path)
    except (OSError, SafetensorError) as error:  # a full disk reaches Python as the latter
        raise failure_sentences.disk_error(path, error) from error


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read safetensors as float32. Raises UserError for a damaged file."""
    try:
        return {name: value.float() for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read ({error}).", "The run is damaged: start it again.") from None


def read_adapter(folder: Path) -> dict[str, torch.Tensor]:
    """Read a saved adapter's cells as float32. Raises UserError for a damaged file."""
    return {cell_name(key): value for key, value in read_tensors(folder / "adapter_model.safetensors").items()}
