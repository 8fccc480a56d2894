"""Adapter files without torch: tensors as float32 arrays or as raw bytes, their hash, and a whole adapter put together.

Also what fresh rank is (`Adapters.widen`), so that a model with some is the same here and there.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, TensorSpec, deserialize, serialize

from core.util.errors import UserError

Array = NDArray[np.float32]
Raw = dict[str, dict[str, Any]]
"""name -> {"dtype", "shape", "data"}, as safetensors has them"""
KINDS = {"BF16": "bfloat16", "F32": "float32", "F16": "float16"}
"""number formats of adapters: in a file -> as safetensors calls them in memory"""
PREFIX, SUFFIX = "base_model.model.", ".weight"
"""what peft puts around a cell's name"""


def raw(path: Path) -> Raw:
    """Return the tensors of a safetensors file as bytes. Raises UserError for a damaged or missing file."""
    try:
        return dict(deserialize(path.read_bytes()))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path.name} cannot be read ({error}).", "The run is damaged: start it again.") from None


def arrays(tensors: Raw) -> dict[str, Array]:
    """Return tensors as float32. Raises UserError for a number format that no adapter of a run has."""
    return {name: _array(tensor) for name, tensor in tensors.items()}


def cells(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors of a peft file under the names of their cells."""
    return {cell_name(name): tensor for name, tensor in tensors.items()}


def cell_name(key: str) -> str:
    """Return the cell that a saved tensor is."""
    return key.removeprefix(PREFIX).removesuffix(SUFFIX)


def content_hash(values: Mapping[str, Array]) -> str:
    """Return the SHA-256 of tensors by name: order and storage format do not matter."""
    return hash_of((name, values[name]) for name in sorted(values))


def hash_of(named: Iterable[tuple[str, Array]]) -> str:
    """Return the SHA-256 of names, shapes and contents, in this order; one array is looked at at a time."""
    digest = hashlib.sha256()
    for name, array in named:
        digest.update(f"{name}{tuple(array.shape)}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def fresh_rows(cell: str, slots: int, inputs: int) -> Array:
    """Return fresh rows of a factor A as peft draws them, ± 1/√inputs: (slots, inputs). The cell's name is the seed."""
    seed = int.from_bytes(hashlib.sha256(cell.encode()).digest()[:4], "big")
    bits = np.random.RandomState(seed).randint(2**32, size=(slots, inputs), dtype=np.uint32)
    bound = float(np.float32(1 / math.sqrt(inputs)))
    # In float64, rounded once: torch's own draw has other last bits where a processor cannot multiply and add in one.
    return ((bits % 2**24) * (2 * bound / 2**24) - bound).astype(np.float32)


def grown_alpha(alpha: float, rank: int, slots: int, *, rslora: bool) -> float:
    """Return the alpha with which an adapter of more rank applies what it has as before."""
    growth = (rank + slots) / rank
    return alpha * (math.sqrt(growth) if rslora else growth)


def slots(run: Path) -> int:
    """Return how much fresh rank a run's adapter after unlearning has beside that of before."""
    return _slots(raw(run / "before" / "adapter_model.safetensors"), raw(run / "after" / "region.safetensors"))


def before(run: Path, slots: int = 0) -> Raw:
    """Return the adapter before unlearning as peft names it, with so much fresh rank, as it was at first."""
    whole = raw(run / "before" / "adapter_model.safetensors")
    return {key: _widened(cell_name(key), tensor, slots) for key, tensor in whole.items()} if slots else whole


def after(run: Path) -> Raw:
    """Return the adapter after unlearning as peft names it: before, with the region's tensors in their place.

    Raises UserError where a file is missing or damaged, or the region has a tensor that before has not.
    """
    whole, region = before(run, slots(run)), raw(run / "after" / "region.safetensors")
    for name, tensor in region.items():
        key = f"{PREFIX}{name}{SUFFIX}"
        if key not in whole or list(whole[key]["shape"]) != list(tensor["shape"]):
            raise UserError(
                f"The tensor {name[:80]} of after/region.safetensors is not one of before.", "The run is damaged."
            )
        whole[key] = tensor
    return whole


def pack(tensors: Raw) -> bytes:
    """Return tensors as a safetensors file, with the mark that peft looks for."""
    # A spec holds a bare address: these arrays must live until everything is written.
    kept = {name: np.frombuffer(bytes(tensor["data"]), np.uint8) for name, tensor in tensors.items()}
    specs = {
        name: TensorSpec(
            dtype=KINDS[tensor["dtype"]], shape=tensor["shape"], data_ptr=kept[name].ctypes.data, data_len=kept[name].nbytes
        )
        for name, tensor in tensors.items()
    }
    return serialize(specs, metadata={"format": "pt"})  # type: ignore[no-any-return]


def _slots(whole: Raw, region: Raw) -> int:
    """Return by how much the region's tensors have more rank than the whole adapter's."""
    more = [0]
    for name, tensor in region.items():
        shapes = tensor["shape"], whole.get(f"{PREFIX}{name}{SUFFIX}", tensor)["shape"]
        # Rows of A, columns of B; what differs in its other side belongs to another model.
        now, was = (shape if name.endswith("_A") else shape[::-1] for shape in shapes)
        if len(now) == len(was) == 2 and now[1] == was[1] > 0:
            more.append(now[0] - was[0])
    return max(more)


def _widened(cell: str, tensor: Mapping[str, Any], slots: int) -> dict[str, Any]:
    """Return a factor with fresh rank: drawn rows of A, columns of zeros of B; in bfloat16 where that loses nothing."""
    array = _array(tensor)
    if cell.endswith("_B"):
        wide = np.concatenate([array, np.zeros((len(array), slots), np.float32)], axis=1)
    else:
        wide = np.concatenate([array, fresh_rows(cell, slots, array.shape[1])])
    bits = np.ascontiguousarray(wide).view("<u4")
    if not (bits & 0xFFFF).any():
        return {"dtype": "BF16", "shape": list(wide.shape), "data": (bits >> 16).astype("<u2").tobytes()}
    return {"dtype": "F32", "shape": list(wide.shape), "data": bits.tobytes()}


def _array(tensor: Mapping[str, Any]) -> Array:
    data, shape = bytes(tensor["data"]), tuple(tensor["shape"])
    kind = KINDS.get(tensor["dtype"])
    if kind is None:
        raise UserError(
            f"An adapter in the number format {tensor['dtype']} is not known.", "Save it as bfloat16 or float32."
        )
    if kind == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return np.frombuffer(data, "<f4" if kind == "float32" else "<f2").astype("<f4").reshape(shape)
