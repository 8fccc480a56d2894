"""What a person wrote about a run: another name, a pin, tags, a note. In label.json, beside the configuration.

A label never changes what a run is: it is no part of its settings, and of no hash.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from core.runs.store import Run
from core.util import access, failure_sentences, files
from core.util.errors import UserError

FORMAT = 1
FILE = "label.json"
LONGEST_NAME, LONGEST_TAG, LONGEST_NOTE, MOST_TAGS = 80, 30, 4000, 12


@dataclass(frozen=True)
class Label:
    """The words of a person about a run; all empty by default."""

    name: str = ""
    """shown instead of the configuration's name; at most 80 characters"""
    pinned: bool = False
    """stands first in lists"""
    tags: tuple[str, ...] = ()
    """at most 12 of at most 30 characters"""
    note: str = ""
    """at most 4,000 characters"""


def read(run: Run) -> Label:
    """Return a run's label; whatever is missing, damaged or too long there is empty or cut."""
    return from_json(run.json(FILE))


def from_json(values: Any) -> Label:
    """Build a label from label.json's value, tolerantly."""
    if not isinstance(values, dict):
        return Label()
    name, note, tags = (values.get(key) for key in ("name", "note", "tags"))
    return Label(
        name=" ".join(name.split())[:LONGEST_NAME] if isinstance(name, str) else "",
        pinned=values.get("pinned") is True,
        tags=tidy(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
        note=note.strip()[:LONGEST_NOTE] if isinstance(note, str) else "",
    )


def tidy(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags without white space around them, empty ones and repetitions."""
    texts = (" ".join(tag.split())[:LONGEST_TAG] for tag in tags)
    return tuple(dict.fromkeys(tag for tag in texts if tag))[:MOST_TAGS]


def change(run: Run, **values: Any) -> Label:
    """Change some fields and keep the others, also those that another browser changed meanwhile.

    Raises UserError for a bundled run, a run that is gone, and where nothing can be written.
    """
    access.changing()
    from filelock import FileLock

    if run.bundled:
        raise UserError("The bundled run cannot be changed.", "Start a run of your own with its settings.")
    if not run.path.is_dir():
        raise UserError(f"The run {run.id} is not here any more.", "Reload the page.")
    try:
        with FileLock(run.path / ".label.lock"):  # reading and writing: else one of two changes would be lost
            wanted = dataclasses.replace(read(run), **values)
            label = from_json({**dataclasses.asdict(wanted), "tags": list(wanted.tags)})
            files.write_json(run.path / FILE, {"format": FORMAT, **dataclasses.asdict(label)})
    except OSError as error:
        raise failure_sentences.disk_error(run.path / FILE, error) from error
    return label
