"""Files of rows, whatever their format: JSON, JSONL, CSV, Parquet -> a list of objects.

Knows nothing of questions and scopes. What is wrong with a file is a UserError that names it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.util.errors import UserError

MOST_COLUMNS = 200
MOST_ROWS = 50_000
LARGEST_UNPACKED = 2**30
"""bytes of a Parquet file's columns: they are packed, some to a thousandth"""
LONGEST_CELL = 2**20
"""bytes of one text in a Parquet file, which may repeat it in every row for nothing"""
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
    except (ValueError, RecursionError) as error:  # a number of some thousand digits is a ValueError
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
            except (ValueError, RecursionError):
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
    # newline="": an end of a line within quotes belongs to the cell.
    reader = csv.reader(io.StringIO(_decoded(path), newline=""), strict=True)
    try:
        lines = [line for line in reader if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise UserError(f"{path.name} is not a readable CSV file (line {reader.line_num}: {error}).", "Repair it.") from None
    names = [name.strip() for name in lines[0]] if lines else []
    _few(path, len(lines), len(names))
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise UserError(f"{path.name} has the column “{twice[0][:80]}” twice.", "Rename one of them.")
    for number, line in enumerate(lines[1:], start=1):
        if len(line) > len(names):
            raise UserError(
                f"{path.name} has {len(line)} cells in row {number}, and {len(names)} columns.",
                "Quote cells that hold commas.",
            )
    return [dict(zip(names, [*line, *[""] * (len(names) - len(line))], strict=True)) for line in lines[1:]]


def parquet_rows(path: Path) -> list[dict[str, Any]]:
    """Return rows by column name; sizes are looked at before anything is unpacked."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            facts = file.metadata
            _few(path, facts.num_rows, facts.num_columns)
            if sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups)) > LARGEST_UNPACKED:
                raise UserError(
                    f"{path.name} has more than {LARGEST_UNPACKED // 2**20} MB when it is unpacked.", "Take a part."
                )
            texts = [column.name for column in file.schema_arrow if _is_text(column.type)]
            for column in file.schema_arrow:  # a list or bytes could hold a long text in every row for nothing
                if not (_is_text(column.type) or pa.types.is_primitive(column.type) or pa.types.is_null(column.type)):
                    raise UserError(
                        (
                            f"{path.name}: the column “{column.name[:80]}” holds no text and no numbers, but "
                            f"{str(column.type)[:80]}."
                        ),
                        "Leave it out.",
                    )
        table = pq.read_table(path, read_dictionary=texts)
        _short(path, table)
        return [{str(key): value for key, value in row.items()} for row in table.to_pylist()]
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise UserError(f"{path.name} is not a readable Parquet file ({error}).", "Write it again.") from None


def _is_text(kind: Any) -> bool:
    """Say whether a column holds texts, each row its own or from a dictionary."""
    import pyarrow as pa

    value_type = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(
        pa.types.is_string(value_type) or pa.types.is_large_string(value_type) or pa.types.is_string_view(value_type)
    )


def _few(path: Path, rows: int, columns: int) -> None:
    """Raise UserError for a table that is too long or too wide to be one of questions."""
    if columns > MOST_COLUMNS:
        raise UserError(f"{path.name} has {columns} columns, more than {MOST_COLUMNS}.", "Keep question, answer, scope.")
    if rows > MOST_ROWS + 1:
        raise UserError(f"{path.name} has {rows} rows, more than {MOST_ROWS}.", "Take a part.")


def _short(path: Path, table: Any) -> None:
    """Raise UserError for a text that is too long to be repeated; each one stands once in its column's dictionary."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for column in table.columns:
        for chunk in column.chunks if pa.types.is_dictionary(column.type) else ():
            if (pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0) > LONGEST_CELL:
                raise UserError(f"{path.name} has a text of more than {LONGEST_CELL} characters.", "Shorten it.")


READERS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    ".json": json_rows,
    ".jsonl": jsonl_rows,
    ".csv": csv_rows,
    ".parquet": parquet_rows,
}
"""a file's ending -> how its rows are read"""
