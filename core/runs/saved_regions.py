"""Regions that a person picked and named, kept beside the run: a file of their own, never part of what the run measured."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.config.run_config import FORMAT
from core.runs import locks, store
from core.runs.store import Run
from core.util import access, failure_sentences, files
from core.util.errors import UserError

LONGEST = 60
MOST = 200
PATIENCE = 10.0
"""seconds for which a change waits for another one, which takes milliseconds"""


def file_path(run: Run) -> Path:
    """Return the file; that of a bundled run, which is read-only, lies in the runs folder."""
    return store.runs_folder() / ".bundled" / run.id / "regions.json" if run.bundled else run.path / "regions.json"


def load(run: Run) -> dict[str, list[str]]:
    """Return name -> tensors, oldest first; empty where nothing was saved or the file is damaged."""
    try:
        values = json.loads(file_path(run).read_text(encoding="utf-8"))
        regions = values["regions"]
        return {str(name): [str(t) for t in tensors] for name, tensors in regions.items() if isinstance(tensors, list)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def save(run: Run, name: str, tensors: Sequence[str]) -> None:
    """Add a region. Raises UserError for an empty name or region, a name that another region has, too many, and a run that
    is gone.
    """
    name = " ".join(name.split())[:LONGEST]
    if not name:
        raise UserError("A region needs a name.", "Type one.")
    if not tensors:
        raise UserError("This region is empty.", "Choose cells before saving it.")
    with _changing(run) as regions:
        if regions.get(name, list(tensors)) != list(tensors):
            raise UserError(f"Another saved region is called “{name}”.", "Choose another name, or delete that one first.")
        if name not in regions and len(regions) >= MOST:
            raise UserError(f"There are {MOST} saved regions.", "Delete one first.")
        regions[name] = list(tensors)


def delete(run: Run, name: str) -> None:
    """Remove a region; an unknown name is no error."""
    with _changing(run) as regions:
        regions.pop(name, None)


@contextlib.contextmanager
def _changing(run: Run) -> Iterator[dict[str, list[str]]]:
    """Give out the regions to be changed, and write them. Two who save at once wait for each other; a run that is gone stays
    so.
    """
    access.changing()
    path = file_path(run)
    if run.bundled:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise failure_sentences.disk_error(path, error) from error
    with locks.alone(Run(path.parent), ".regions.lock", PATIENCE):
        regions = load(run)
        yield regions
        files.write_json(path, {"format": FORMAT, "regions": regions})
