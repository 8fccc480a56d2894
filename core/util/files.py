"""Files written in one step, so that a reader sees the old or the new content, never a part; hashes; what JSON can say."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.util.failure_sentences import disk_error as disk_error

if TYPE_CHECKING:
    import pandas as pd


def replace(path: Path, table: pd.DataFrame) -> None:
    """Replace a table in one step, as `write_text` does a text."""
    packed = io.BytesIO()
    table.to_parquet(packed)
    write_bytes(path, packed.getvalue())


def digest(files: Mapping[str, str]) -> str:
    """Return one SHA-256 of a model's files (name -> SHA-256)."""
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step: a reader sees the old or the new content, never a part."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> int:
    """Replace a file in one step; return its size."""
    # Beside its target, since a rename is one step only within a file system; with a name that no other writer has.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return len(data)


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder that becomes the target at the end: what is left with an error leaves nothing behind.

    Raises UserError where the disk refuses.
    """
    partial = target.with_name(f".{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(target)
    except OSError as error:
        raise disk_error(target, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def folder_size(folder: Path) -> int:
    """Return the bytes of all files in a folder, however deep."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return what a JSON file holds."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def clean(value: Any) -> Any:
    """Replace what JSON cannot say (NaN, numpy numbers) by what it can."""
    if isinstance(value, dict):
        return {str(key): clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
