"""Whether a foreign run's files are what their names say, found out without running or believing anything in them."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core.config.run_config import FORMAT
from core.models import weight_files
from core.runs.store import ENDED, Run
from core.util.errors import UserError
from core.util.safe_read import moment

LARGEST_ARRAYS = 4 * 2**30
"""bytes of the arrays of one file in memory"""
MOST_ROWS = 50_000_000
"""rows of a table"""
BATCH = 4096
"""rows of a table that are read at once"""
DEEPEST = 40
"""levels of nested JSON: readers recurse"""
RATIO, RATIO_FROM = 200, 2**24
"""An array file that unpacks to more than 200 times its size, and to more than 16 MB, is a bomb."""


def check(folder: Path) -> None:
    """Check each file of an unpacked run, and that its configuration is one. Raises UserError for the first that is
    wrong.
    """
    kinds = {".json": _json, ".jsonl": _lines, ".npz": _arrays, ".parquet": _parquet, ".safetensors": _safetensors}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            kinds[path.suffix](path, path.relative_to(folder).as_posix())
    run = Run(folder)
    if not (folder / "config.json").is_file() or not (folder / "status.json").is_file():
        raise refused("a run in it lacks its config.json or status.json")
    run.config()


def refused(why: str) -> UserError:
    """Build the error for an archive that is not taken in."""
    return UserError(f"The archive was not imported: {why}.", "Nothing of it was kept.")


def parsed(text: bytes, name: str) -> Any:
    """Return a JSON value. Raises UserError where it is none, or nested without end."""
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        raise refused(f"{name} is not readable JSON") from None
    if _depth(value) > DEEPEST:
        raise refused(f"{name} is nested too deeply")
    return value


def _depth(value: Any) -> int:
    """Return how deeply lists and objects are nested, without recursion."""
    depth, level = 0, [value]
    while level := [inner for outer in level if isinstance(outer, dict | list) for inner in _inner(outer)]:
        depth += 1
    return depth


def _inner(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _json(path: Path, name: str) -> None:
    if not isinstance(parsed(path.read_bytes(), name), dict):
        raise refused(f"{name} is not a JSON object")


def _lines(path: Path, name: str) -> None:
    """Check a file of JSON lines. A damaged line is passed over by readers (a killed worker leaves one), so it may be
    here.
    """
    with path.open("rb") as file:
        for line in file:
            try:
                deep = _depth(json.loads(line.decode("utf-8"))) > DEEPEST
            except ValueError:
                continue
            except RecursionError:
                deep = True
            if deep:
                raise refused(f"a line of {name} is nested too deeply")


def _arrays(path: Path, name: str) -> None:
    """Read only the headers of the arrays: a zip inside the zip may be a bomb, and an array of objects a pickle."""
    import numpy as np

    try:
        with zipfile.ZipFile(path) as inner:
            entries = inner.infolist()
            size = sum(entry.file_size for entry in entries)
            if size > min(LARGEST_ARRAYS, max(RATIO_FROM, RATIO * path.stat().st_size)):
                raise refused(f"the arrays of {name} are too large when unpacked")
            if len({entry.filename for entry in entries}) != len(entries):
                raise refused(f"{name} holds an array twice")
            for entry in entries:
                with inner.open(entry) as file:
                    version = np.lib.format.read_magic(file)
                    head = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                    shape, _, kind = head(file)
                if kind.hasobject:
                    raise refused(f"{name} holds Python objects, which could run code")
                # dtype=object multiplies Python's integers: 64 bits would overflow, and a huge array look small.
                if min(shape, default=0) < 0 or int(np.prod(shape, dtype=object)) * kind.itemsize > entry.file_size:
                    raise refused(f"an array of {name} is shorter than it says")
    except UserError:
        raise
    except Exception:  # the header is parsed as Python's literals, which fail in many ways
        raise refused(f"{name} is not a file of arrays") from None


def _parquet(path: Path, name: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    large = refused(f"the table {name} is too large when unpacked")
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.metadata
            size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
            most = min(LARGEST_ARRAYS, max(RATIO_FROM, RATIO * path.stat().st_size))
            if size > most or metadata.num_rows > MOST_ROWS:
                raise large
            file.schema_arrow  # noqa: B018 - building it reads what foreign metadata says
            columns = [file.schema.column(i) for i in range(metadata.num_columns)]
        # That size counts a text once that stands in every row: so it is read, as a dictionary of its texts, and counted.
        texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            size = 0
            for batch in file.iter_batches(BATCH):
                size += sum(map(_unpacked, batch.columns))
                if size > most:
                    raise large
    except (pa.ArrowException, OSError, ValueError):
        raise refused(f"{name} is not a readable table") from None


def _unpacked(array: Any) -> int:
    """Return the bytes that an array of a table takes with every text written out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(array.type):
        lengths = pc.binary_length(array.dictionary).cast(pa.int64())
        return 4 * len(array) + int(pc.sum(lengths.take(array.indices)).as_py() or 0)
    if pa.types.is_nested(array.type):
        inner = array.flatten()  # a struct has several
        return 4 * len(array) + sum(map(_unpacked, inner if isinstance(inner, list) else [inner]))
    return _unpacked(array.storage) if isinstance(array, pa.ExtensionArray) else int(array.nbytes)


def _safetensors(path: Path, name: str) -> None:
    if wrong := weight_files.problem(path):
        raise refused(f"of {name}, {wrong}")


def settled(status: Any) -> dict[str, Any]:
    """Return the status of a run that ended elsewhere: its facts, and no process that could be taken for one of ours."""
    values = status if isinstance(status, dict) else {}
    state = values.get("state")
    times = {key: values[key] for key in ("created", "began", "ended") if moment(values.get(key)) is not None}
    stages = values.get("stages")
    stages = {str(k): v for k, v in stages.items() if isinstance(v, dict)} if isinstance(stages, dict) else {}
    return {
        "format": FORMAT,
        "state": state if state in ENDED else "cancelled",
        "stage": str(values.get("stage") or ""),
        "stages": stages,
        "created": time.time(),
        **times,
        "error": str(values.get("error") or ""),
        "fix": str(values.get("fix") or ""),
        "host": "imported",
        "pid": None,
        "heartbeat": 0,
    }
