"""Files of weights: safetensors, never pickles, with a head that is bounded before a library reads it. No torch."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from core.util.errors import UserError

LARGEST_HEAD = 2**23
"""bytes of the list of tensors at the beginning of a safetensors file; a thousand of them take 0.1 MB"""
MOST_DIMENSIONS = 8
"""of a tensor"""
Stamp = tuple[tuple[str, int, int], ...]
"""path, bytes and time of change (nanoseconds) of each file of weights"""


def check(folder: Path, stem: str) -> None:
    """Look at the weights of a model or adapter in a folder. Raises UserError where there are none, or they are unsound."""
    files = sorted(folder.glob(f"{stem}*.safetensors"))
    if not files and (any(folder.glob("*.bin")) or any(folder.glob("*.pt"))):
        raise UserError(
            f"{folder} has its weights only as pickles.", "Convert them: save_pretrained(safe_serialization=True)."
        )
    if not files:
        raise UserError(f"{folder} has no weights ({stem}*.safetensors).", "Check that the folder is complete.")
    _pieces(folder / f"{stem}.safetensors.index.json")
    for path in files:
        if wrong := problem(path):
            raise UserError(f"The weights {path.name} are damaged: {wrong}.", "Fetch or copy them again.")


def stamp(source: str | Path) -> Stamp:
    """Return what tells the weights in a folder apart without reading them; nothing of a model that the hub keeps."""
    files = sorted(source.glob("*.safetensors")) if isinstance(source, Path) else []
    return tuple((str(path), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in files)


def problem(path: Path) -> str:
    """Say what is wrong with a safetensors file's head, in words that follow its name; nothing where it is sound."""
    try:
        # Looked at first: the library makes room for as large a head as these eight bytes promise.
        with path.open("rb") as raw:
            size = int.from_bytes(raw.read(8), "little")
        if size > LARGEST_HEAD:
            return "it is not a safetensors file, or one of far more tensors than a model has"
        with safe_open(path, framework="numpy") as file:
            for key in file.keys():  # noqa: SIM118 - it is no mapping
                if len(file.get_slice(key).get_shape()) > MOST_DIMENSIONS:
                    return f"a tensor has more than {MOST_DIMENSIONS} dimensions"
    except (SafetensorError, OSError, ValueError):
        return "it is not a safetensors file"
    return ""


def _pieces(index: Path) -> None:
    """Check the list of a model in several pieces: a piece lies in the model's own folder."""
    if not index.exists():
        return
    try:
        pieces = set(map(str, json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError):
        raise UserError(f"{index.name} is not a readable list of a model's pieces.", "Fetch or copy it again.") from None
    # By name alone: where the hub keeps models, the pieces themselves are links.
    if away := sorted(name for name in pieces if Path(name).name != name or "\\" in name):
        raise UserError(
            f"{index.name} names a piece outside of the model's folder ({away[0][:80]}).", "Do not use this model."
        )
