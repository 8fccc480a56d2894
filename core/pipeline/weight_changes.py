"""What unlearning changed, tensor by tensor: how far after lies from before, beside how large before is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import safe_open

from core.models.adapters import Adapters
from core.models.cells import layer_and_module


def changes(adapters: Adapters, before: str = "before", after: str = "after") -> pd.DataFrame:
    """Return one row an adapter tensor, in grid order: name, norm_before, norm_change, max_change.

    Norms are Frobenius norms, of before and of after − before; max_change is the largest absolute element of the
    latter. Outside the region the two are equal bit by bit, so both changes are exactly 0 there.
    """
    rows = []
    for name, first, second in adapters.pairs(before, after):
        start, change = first.double(), second.double() - first.double()
        rows.append(
            {
                "name": name,
                "norm_before": float(start.norm()),
                "norm_change": float(change.norm()),
                "max_change": float(change.abs().max()),
            }
        )
    return pd.DataFrame(rows)


@torch.no_grad()
def of_matrices(adapters: Adapters) -> pd.DataFrame:
    """Return the same of the weight matrices W + s·B·A that the adapters make, one row an adapted matrix, in float32.

    Two adapters that were not made from each other may have quite other factors and the same product: only the product
    says how far they lie apart. Columns besides: layer, module, factor (W), rows, columns.
    """
    rows = []
    for name in dict.fromkeys(cell.name.rsplit(".lora_", 1)[0] for cell in adapters.cells):
        layer = adapters.layer(f"{name}.lora_A")
        start = layer.get_delta_weight("before").float()  # type: ignore[operator]
        change = layer.get_delta_weight("after").float() - start  # type: ignore[operator]
        rows.append(_matrix(name, layer.get_base_layer().weight.float() + start, change))
    return pd.DataFrame(rows)


def of_files(before: Path, after: Path) -> pd.DataFrame | None:
    """Return the same of two whole models in folders of safetensors.

    Only two matrices are in memory at a time. None where the models do not have the same matrices, or not as files.
    """
    first, second = _heads(before), _heads(after)
    names = [name for name, (_, shape) in first.items() if len(shape) == 2 and layer_and_module(name)[0] >= 0]
    if not names or any(name not in second or second[name][1] != first[name][1] for name in names):
        return None
    rows = []
    for name in names:
        start, end = (_tensor(heads[name][0], name).float() for heads in (first, second))
        rows.append(_matrix(name.removesuffix(".weight"), start, end - start))
    return pd.DataFrame(rows).sort_values("layer", kind="stable", ignore_index=True)


def _matrix(name: str, start: torch.Tensor, change: torch.Tensor) -> dict[str, Any]:
    layer, module = layer_and_module(name)
    return {
        "name": name,
        "layer": layer,
        "module": module,
        "factor": "W",
        "rows": start.shape[0],
        "columns": start.shape[1],
        "norm_before": float(start.norm()),
        "norm_change": float(change.norm()),
        "max_change": float(change.abs().max()),
    }


def _heads(folder: Path) -> dict[str, tuple[Path, list[int]]]:
    """Return tensor -> (file, shape) of a model's folder."""
    heads: dict[str, tuple[Path, list[int]]] = {}
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, framework="pt") as file:
            heads |= {name: (path, file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no mapping)
    return heads


def _tensor(path: Path, name: str) -> torch.Tensor:
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name)  # type: ignore[no-any-return]
