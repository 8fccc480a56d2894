"""Files of rows, whatever their format: JSON, JSONL, CSV, Parquet -> a list of objects.

Knows nothing of questions and scopes. What is wrong with a file is a UserError that names it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import UserError

EXPECTED = 'Expected [{"question": …, "answer": …, "scope": …}].'


def _decoded(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"The file {path} does not exist.", "Check the folder's layout.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name} is not UTF-8 (byte {error.start}).", "Save it as UTF-8.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).", "Check its permissions.") from None


def parsed(path: Path) -> Any:
    """Return a JSON file's value."""
    try:
        return json.loads(_decoded(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path.name} is not valid JSON ({error}).", "Repair the file.") from None


def json_list(path: Path) -> list[Any]:
    """Return a JSON list, whatever stands in it."""
    rows = parsed(path)
    if not isinstance(rows, list):
        raise UserError(f"{path.name} is not a list of objects.", EXPECTED)
    return rows


def json_rows(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON list."""
    rows = json_list(path)
    if not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path.name} is not a list of objects.", EXPECTED)
    return rows


def numbered_lines(path: Path) -> list[tuple[int, Any]]:
    """Return (line number, value) of the lines that are not empty; a line that is no JSON stays text."""
    rows: list[tuple[int, Any]] = []
    for number, line in enumerate(_decoded(path).split("\n"), start=1):
        if line.strip():
            try:
                rows.append((number, json.loads(line)))
            except (json.JSONDecodeError, RecursionError):
                rows.append((number, line))
    return rows


def jsonl_rows(path: Path) -> list[dict[str, Any]]:
    """Return one object a line."""
    rows = []
    for number, row in numbered_lines(path):
        if not isinstance(row, dict):
            raise UserError(f"{path.name}: line {number} is not a JSON object.", "Repair the line.")
        rows.append(row)
    return rows


def csv_rows(path: Path) -> list[dict[str, Any]]:
    """Return rows by column name, every value as text."""
    import pandas as pd

    text = _decoded(path)
    if not text.strip():
        return []
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, ValueError) as error:
        raise UserError(f"{path.name} is not a readable CSV file ({error}).", "Repair the file.") from None
    return [{str(key).strip(): value for key, value in row.items()} for row in table.to_dict("records")]


def parquet_rows(path: Path) -> list[dict[str, Any]]:
    """Return rows by column name."""
    import pandas as pd
    import pyarrow

    try:
        table = pd.read_parquet(path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path.name} is not a readable Parquet file ({error}).", "Write it again.") from None
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


READERS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    ".json": json_rows,
    ".jsonl": jsonl_rows,
    ".csv": csv_rows,
    ".parquet": parquet_rows,
}
"""a file's ending -> how its rows are read"""
