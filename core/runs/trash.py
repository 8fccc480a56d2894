"""Deleting runs with a way back: they move to runs/.trash, and from there home or into nothing.

The time of deletion is the folder's name, so that nothing is lost with a server or a browser.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.runs import layout, locks, store
from core.runs.layout import ASKED, TRASH
from core.runs.store import Run
from core.util import access, failure_sentences
from core.util.errors import UserError

GOING = ".going-"
"""how the names of runs begin that are being deleted for good"""
KEPT = 24 * 3600.0
"""Seconds that a deleted run can be taken back, unless the page that deleted it is left before."""


@dataclass(frozen=True)
class Deleted:
    """A run in the trash."""

    path: Path
    """…/.trash/NANOSECONDS-ID"""

    @property
    def key(self) -> str:
        """The folder's name: one run deleted twice has two."""
        return self.path.name

    @property
    def id(self) -> str:
        """The run's id before it was deleted."""
        return self.key.partition("-")[2]

    @property
    def when(self) -> float:
        """When it was deleted, in seconds since 1970."""
        return int(self.key.partition("-")[0]) / 1e9


def delete(run: Run) -> Deleted:
    """Move a run to the trash of its folder. Raises UserError for a living or a bundled one."""
    access.changing()
    if run.bundled:
        raise UserError("The bundled run cannot be deleted.", "It ships with the project.")
    if run.status().get("state") in store.ALIVE:
        raise UserError(f"The run {run.id} is {run.status()['state']}.", "Cancel it first, or wait for it.")
    if later := layout.later(run):
        raise UserError(f"Work on the run {run.id} is under way: {later}.", "Cancel it first, or wait for it.")
    trash = run.path.parent / TRASH
    target = trash / f"{time.time_ns()}-{run.id}"
    try:
        # The lock keeps a worker from starting in between.
        with locks.single_worker(run):
            trash.mkdir(exist_ok=True)
            os.rename(run.path, target)
    except OSError as error:
        raise failure_sentences.disk_error(run.path, error) from error
    return Deleted(target)


def content(folder: Path) -> list[Deleted]:
    """Return what lies in a runs folder's trash, last deleted first."""
    try:
        runs = [Deleted(path) for path in (folder / TRASH).iterdir() if path.name.partition("-")[0].isdigit()]
    except OSError:
        return []
    return sorted(runs, key=lambda deleted: deleted.when, reverse=True)


def restore(deleted: Deleted) -> Run:
    """Take a run back. Raises UserError where it is gone; an id that is taken meanwhile gets a suffix."""
    access.changing()
    home = deleted.path.parent.parent
    target = free(home, deleted.id)
    try:
        os.rename(deleted.path, target)
    except FileNotFoundError:
        raise UserError(
            f"The run {deleted.id} is not in the trash any more.", "It was taken back or deleted for good."
        ) from None
    except OSError as error:
        raise failure_sentences.disk_error(target, error) from error
    return Run(target)


def free(folder: Path, name: str) -> Path:
    """Return a path in a folder that no run has: the name, or the name with a number."""
    taken = {run.id for run in store.bundled_runs()}
    candidate, number = name, 1
    while candidate in taken or (folder / candidate).exists():
        number += 1
        candidate = f"{name}-{number}"
    return folder / candidate


def purge(runs: Iterable[Deleted]) -> None:
    """Delete for good; what another process just took back or deleted is passed over.

    Raises UserError, once all others are gone, for what belongs to somebody else and stays on the disk.
    """
    access.changing()
    left = []
    for deleted in runs:
        # By a name that is none of a deleted run it cannot be taken back half, and is not tried again at every look.
        gone = deleted.path.with_name(f"{GOING}{deleted.key}")
        try:
            os.rename(deleted.path, gone)
        except FileNotFoundError:
            continue
        except OSError:  # somebody else's, in a folder where only they may: it is told below
            left.append(deleted.path)
            continue
        shutil.rmtree(gone, ignore_errors=True)
        left += [gone] if gone.exists() else []
        home = deleted.path.parent.parent
        if not (home / deleted.id).exists():  # else it is of a run that has the name now
            shutil.rmtree(home / ASKED / deleted.id, ignore_errors=True)
    if left:
        raise UserError(
            f"Of {len(left)} deleted runs not all files could be removed ({left[0]}).", "Remove that folder as its owner."
        )


def purge_rest(folder: Path, before: float) -> None:
    """Remove what is left of runs that were deleted for good by a process that was killed, as far as that is possible."""
    for path in (folder / TRASH).glob(f"{GOING}*"):
        when = path.name.removeprefix(GOING).partition("-")[0]
        if when.isdigit() and int(when) / 1e9 < before:
            shutil.rmtree(path, ignore_errors=True)


def purge_old(folder: Path, now: float | None = None) -> None:
    """Delete for good what has been in the trash for more than a day, and what a killed import left behind."""
    if access.read_only():
        return
    now = now or time.time()
    purge_rest(folder, now - KEPT)
    for path in folder.glob(".import-*"):
        with contextlib.suppress(FileNotFoundError):
            if now - path.stat().st_mtime > KEPT:
                shutil.rmtree(path, ignore_errors=True)
    purge(deleted for deleted in content(folder) if now - deleted.when > KEPT)
