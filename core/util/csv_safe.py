"""Rows as CSV, in which a spreadsheet computes nothing (OWASP, "CSV Injection"). Every CSV that Python writes comes from
here.

Cells hold what models, data files and people wrote. The charts' CSV is written in the browser by the same rule
(dashboard/browser/plotly.js).
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
"""what could begin a formula, also behind white space, which some programs drop, and in full width"""
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def written(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV: every text quoted and harmless, numbers as they are, nothing for what is missing."""
    out = io.StringIO()
    # Every text is quoted: where a semicolon separates cells, it would else begin a new one in the middle of a text.
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def harmless(text: str) -> str:
    """Return a cell's text that spreadsheets show instead of computing it: with an apostrophe before it where need be."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def _cell(value: Any) -> str | bool | int | float:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return harmless(value)
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        value = value.tolist()
    return value if isinstance(value, bool | int | float) else harmless(json.dumps(value, ensure_ascii=False, default=str))
