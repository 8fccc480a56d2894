"""TOFU (Maini et al. 2024, arXiv 2401.06121) in its own splits: of 200 invented authors, 1, 5 or 10 % are to be forgotten.

A file of JSON lines each, as on the hub: forget10.json and retain90.json hold question and answer,
forget10_perturbed.json and retain_perturbed.json other wordings of some of the same questions. All that is to be forgotten
is trained on, so there is no val; other wordings are asked alone, as `untaught`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.data import table_files
from core.util.errors import UserError

HUB = "locuslab/TOFU"
RETAINED = {"forget01": "retain99", "forget05": "retain95", "forget10": "retain90"}
"""a subset, which is what is to be forgotten -> the part that is to be kept"""
REWORDED = {"unlearn": "{}_perturbed", "retention": "retain_perturbed"}
"""scope -> the part with other wordings of its questions; in a folder it may be missing"""

Part = Callable[[str], list[dict[str, Any]]]
"""name of a part -> its rows; empty where there is no such part"""


def lies_in(folder: Path, subset: str) -> bool:
    """Say whether a folder holds this subset."""
    return subset in RETAINED and (folder / f"{subset}.json").is_file()


def of_folder(folder: Path) -> Part:
    """Read parts from a folder's files."""
    return lambda name: table_files.jsonl_rows(path) if (path := folder / f"{name}.json").is_file() else []


def of_hub(repository: str = HUB) -> Part:
    """Fetch parts from the hub, or from a folder that is a copy of its repository. Raises UserError where that fails."""

    def rows(name: str) -> list[dict[str, Any]]:
        import datasets

        try:
            return [dict(row) for row in datasets.load_dataset(repository, name, split="train")]
        except (OSError, ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(
                f"The part {name} of {repository} could not be loaded ({type(error).__name__}: {error}).",
                "Check the network, or give a folder with its files: --data DIR.",
            ) from None

    return rows


def rows(part: Part, subset: str) -> list[dict[str, Any]]:
    """Return question, answer, scope, split and an empty subject of a subset's questions. Raises UserError for a bad row."""
    found: list[dict[str, Any]] = []
    for scope, name in (("unlearn", subset), ("retention", RETAINED[subset])):
        taught = part(name)
        if not taught:
            raise UserError(
                f"TOFU’s part {name} is not there.", f"{subset} needs {subset}.json and {RETAINED[subset]}.json."
            )
        asked = {row.get("question") for row in taught}
        again = REWORDED[scope].format(subset)
        reworded = [row for row in part(again) if row.get("question") in asked]
        found += [_row(row, "question", scope, "train", f"{name}, row {n}") for n, row in enumerate(taught, start=1)]
        found += [
            _row(row, "paraphrased_question", scope, "untaught", f"{again}, row {n}")
            for n, row in enumerate(reworded, start=1)
        ]
    return found


def _row(row: dict[str, Any], question: str, scope: str, split: str, where: str) -> dict[str, Any]:
    texts = [row.get(key) for key in (question, "answer")]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise UserError(
            f"TOFU’s {where} has no text as its {question} or answer.", "Take the files from the hub as they are."
        )
    return {
        "question": str(texts[0]).strip(),
        "answer": str(texts[1]).strip(),
        "scope": scope,
        "split": split,
        "subject": "",
    }
