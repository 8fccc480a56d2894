"""The paper's own numbers, to stand beside a user's: always labelled, never mixed with what was measured here."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

from core.util.paths import ASSETS

FILE = ASSETS / "published.json"


@dataclass(frozen=True)
class Row:
    """A line of a published table."""

    name: str
    values: dict[str, float]
    """column -> value"""
    note: str = ""
    """what a reader should know of these numbers"""


@dataclass(frozen=True)
class Published:
    """Everything in assets/published.json."""

    label: str
    source: str
    tables: dict[str, list[Row]]
    """model and subset -> rows; percent"""
    cost_label: str
    cost: list[Row]
    """seconds_per_step, memory_gb"""


@functools.cache
def read() -> Published:
    """Read the file once."""
    contents = json.loads(FILE.read_text(encoding="utf-8"))

    def rows(listed: list[dict[str, Any]], columns: list[str]) -> list[Row]:
        return [
            Row(str(row["name"]), dict(zip(columns, row["values"], strict=True)), str(row.get("note", ""))) for row in listed
        ]

    tables = {name: rows(lines, contents["columns"]) for name, lines in contents["tables"].items()}
    cost = contents["cost"]
    return Published(contents["label"], contents["source"], tables, cost["label"], rows(cost["rows"], cost["columns"]))


def fitting(subset: str) -> str:
    """Return the table that is nearest to a subset of the data: its own, else privacy."""
    tables = read().tables
    return next((name for name in tables if name.endswith(f", {subset}")), next(iter(tables)))
