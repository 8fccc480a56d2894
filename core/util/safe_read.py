"""Reading what may be missing, damaged or somebody else's: files and values that are not what they should be count as
missing.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

DAMAGED = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    NotImplementedError,
    RecursionError,
    ImportError,
)
"""how readers of Parquet and of what pandas wrote into it fail at a file that is none"""

LAST_MOMENT = 4e9
"""seconds since 1970, in the year 2096: calendars fail at dates that are too large"""


def stamp(path: str | Path) -> tuple[int, int]:
    """Return what changes with a file (modified, in ns, and size), zeros where there is none."""
    try:
        stat = os.stat(path)
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


def json_value(path: Path) -> Any:
    """Return a JSON file's value, None where it is missing or damaged."""
    try:
        return _value(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def json_objects(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """Return the JSON objects among some lines; damaged lines and other values are passed over."""
    values = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):  # bytes that are no text included
            values.append(_value(line))
    return [value for value in values if isinstance(value, dict)]


def table(path: Path) -> pd.DataFrame | None:
    """Return a Parquet file as a table, None where it is missing or damaged."""
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except DAMAGED:
        return None


def mapping(value: Any, *keys: str) -> dict[str, Any]:
    """Return the object that lies under some keys, empty where there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def number(value: Any) -> float | None:
    """Return a finite number, None for anything else: text, truth values, and whole numbers beyond what a float holds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def moment(value: Any) -> float | None:
    """Return a time in seconds since 1970, None for what is none or beyond what every machine's calendar can write."""
    seconds = number(value)
    return seconds if seconds is not None and 0 <= seconds < LAST_MOMENT else None


def _value(text: bytes) -> Any:
    """Return a JSON value. Half of a surrogate pair, which is JSON but no text, is mended: tables and pages refuse it."""
    value = json.loads(text.decode())
    if b"\\ud" not in text.lower():
        return value
    whole = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return json.loads(whole)
