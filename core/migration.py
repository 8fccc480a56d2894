"""A run of an earlier format becomes one of today's: only when somebody asks (`runs --migrate`), and what is changed is kept.

Reading never migrates, and every format that ever was stays readable as it lies (tests/fixtures/runs has a run of each).
What is only added to a format leaves its number alone: readers find nothing there in a run that is older.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import access, locks, models, store
from core.config import FORMAT
from core.errors import UserError
from core.store import Run

KEPT = ".migrated"
"""folder beside the runs: ID/format-N/FILE, as the file was"""

Values = dict[str, Any]


@dataclass(frozen=True)
class Format:
    """A format that runs were written in."""

    since: str
    """what it brought"""
    onward: Mapping[str, Callable[[Values], Values]] | None = None
    """JSON file -> what its content becomes in the next format; None for the newest"""


FORMATS = {1: Format("the first one; heads of modules, recorded extras, separability, audits and owners were added to it")}


def version(run: Run) -> int:
    """Return the format that a run was written in. Raises UserError where it cannot be told."""
    values = run.json("config.json")
    found = values.get("format", 1) if isinstance(values, dict) else None
    if not isinstance(found, int) or found < 1:
        raise UserError(f"The run {run.id} does not say in which format it is.", "Restore its config.json.")
    return found


def outdated(folder: Path) -> list[Run]:
    """Return the runs of a folder that are in an earlier format; unreadable and newer ones are passed over."""
    return [run for run in store.list_runs(folder) if not run.problem() and version(run) < FORMAT]


def migrate(run: Run) -> list[str]:
    """Bring a run to today's format, one format after the other; return the files that changed.

    Raises UserError for a run that lives or is damaged: what a damaged file became would look whole.
    """
    access.changing()
    changed: list[str] = []
    with locks.single_worker(run):
        if run.status().get("state") not in store.ENDED:
            raise UserError(f"The run {run.id} is {run.status().get('state')}.", "Migrate it when it has ended.")
        while (now := version(run)) < FORMAT:
            changed += [name for name in _step(run, now) if name not in changed]
    return changed


def _step(run: Run, now: int) -> list[str]:
    """Change a run's files from one format to the next, config.json last: until then it counts as one of the earlier."""
    onward, manifest = FORMATS[now].onward or {}, run.json("manifest.json") or {}
    listed = manifest.get("files", {})
    names = [name for name in onward if name != "config.json" and (run.path / name).is_file()] + ["config.json"]
    for name in names:
        _keep(run, name, now, listed.get(name))
    # From what was kept: a migration that was interrupted finds some files changed already.
    values = {name: onward.get(name, dict)(Run(_place(run, now)).json(name)) for name in names}
    values["config.json"] = {**values["config.json"], "format": now + 1}
    for name in names[:-1]:
        store.write_json(run.path / name, values[name])
    if manifest:
        _keep(run, "manifest.json", now, None)
        new = {name: hashlib.sha256(store.json_text(values[name]).encode()).hexdigest() for name in names if name in listed}
        store.write_json(run.path / "manifest.json", {**manifest, "files": {**listed, **new}})
    store.write_json(run.path / "config.json", values["config.json"])
    return names


def _place(run: Run, now: int) -> Path:
    return run.path.parent / KEPT / run.id / f"format-{now}"


def _keep(run: Run, name: str, now: int, digest: str | None) -> None:
    """Copy a file as it is, once: a migration that was interrupted starts again from what it had kept."""
    target = _place(run, now) / name
    if target.exists():
        return
    if digest and models.sha256(run.path / name) != digest:
        raise UserError(f"{name} of the run {run.id} is not what its manifest says.", "Mend it first: runs --repair.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_name(f".{target.name}.half")
        shutil.copyfile(run.path / name, half)
        half.rename(target)
    except OSError as error:
        raise store.disk_error(target, error) from error
