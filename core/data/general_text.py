"""Questions and answers about neither scope, for methods that keep the rest of the language in place ("OOD")."""

from __future__ import annotations

import json

from core.data import table_files
from core.data.corpus import Example
from core.util.errors import UserError
from core.util.paths import ASSETS, given

OWN = ASSETS / "data" / "ordinary.json"


def examples(source: str) -> list[Example]:
    """Read question and answer pairs, our own where source is empty. Raises UserError where there are none."""
    path = given(source) if source else OWN
    if not path.is_file():
        raise UserError(f"There is no general text at {source}.", "Name a file with columns question and answer.")
    if path.suffix.lower() not in table_files.READERS:
        raise UserError(f"{path.name} is no data file.", f"Known endings: {', '.join(table_files.READERS)}.")
    rows = table_files.READERS[path.suffix.lower()](path) if source else json.loads(OWN.read_text(encoding="utf-8"))
    pairs = [
        Example(f"general/{number}", str(row["question"]), str(row["answer"]), "general", "train", "")
        for number, row in enumerate(rows)
        if isinstance(row, dict) and row.get("question") and row.get("answer")
    ]
    if not pairs:
        raise UserError(f"{path.name} has no row with question and answer.", "Give it these two columns.")
    return pairs
