"""Regions that a person picked and named, kept beside the run: a file of their own, never part of what the run measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from core import access, store
from core.config import FORMAT
from core.errors import UserError
from core.store import Run

LONGEST = 60
MOST = 200


def place(run: Run) -> Path:
    """Return the file; that of a bundled run, which is read-only, lies in the runs folder."""
    return store.runs_folder() / ".bundled" / run.id / "regions.json" if run.bundled else run.path / "regions.json"


def load(run: Run) -> dict[str, list[str]]:
    """Return name -> tensors, oldest first; empty where nothing was saved or the file is damaged."""
    try:
        values = json.loads(place(run).read_text(encoding="utf-8"))
        found = values["regions"]
        return {str(name): [str(t) for t in tensors] for name, tensors in found.items() if isinstance(tensors, list)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def save(run: Run, name: str, tensors: Sequence[str]) -> None:
    """Add a region, or replace the one of that name. Raises UserError for an empty name or region, or too many."""
    name = " ".join(name.split())[:LONGEST]
    if not name:
        raise UserError("A region needs a name.", "Type one.")
    if not tensors:
        raise UserError("This region is empty.", "Choose cells before saving it.")
    known = load(run)
    if name not in known and len(known) >= MOST:
        raise UserError(f"There are {MOST} saved regions.", "Delete one first.")
    _write(run, {**known, name: list(tensors)})


def delete(run: Run, name: str) -> None:
    """Remove a region; an unknown name is no error."""
    _write(run, {key: tensors for key, tensors in load(run).items() if key != name})


def _write(run: Run, regions: dict[str, list[str]]) -> None:
    access.changing()
    path = place(run)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise store.disk_error(path, error) from error
    store.write_json(path, {"format": FORMAT, "regions": regions})
