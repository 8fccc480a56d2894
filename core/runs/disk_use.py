"""What a folder of runs takes on the disk, and what of it can go without hurting any run.

Runs themselves are deleted one by one (core/runs/trash.py). What is cleaned here is the trash, what is made anew when it is
needed (cached stages, of which each run has its own copy or link), the notes of workers that have ended, uploads that no run
is made with, and what visitors asked. What is in use stays.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from core.runs import layout, store, trash
from core.runs.store import Run
from core.util import access, failure_sentences
from core.util.safe_read import mapping

RUNS, CACHE, NOTES, UPLOADS, ASKED = "runs", "cache", "notes", "uploads", "asked"
PARTS = (RUNS, "trash", CACHE, NOTES, UPLOADS, ASKED)
"""of a folder of runs; all but the first can be cleaned"""
CACHED, UPLOADED = ".cache", ".uploads"
NEW = 3600.0
"""seconds for which somebody may still be about to start a run with a file that was uploaded"""


@dataclass(frozen=True)
class Use:
    """What a folder of runs takes."""

    sizes: dict[str, int]
    """part -> bytes that would be free without it and those after it: a file that a run shares with the cache is the
    run's"""
    free: int
    """bytes that are free on that disk"""

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.sizes.values())


def use(folder: Path) -> Use:
    """Measure a folder of runs; every file counts once, however many names it has."""
    seen = set[tuple[int, int]]()
    parts = {
        RUNS: [run.path for run in store.list_runs(folder)],
        "trash": [folder / layout.TRASH],
        CACHE: [folder / CACHED],
        NOTES: [report.path for report in _notes(folder)],
        UPLOADS: [folder / UPLOADED],
        ASKED: [folder / layout.ASKED],
    }
    sizes = {part: sum(_bytes(path, seen) for path in parts[part]) for part in PARTS}
    there = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
    return Use(sizes, shutil.disk_usage(there).free)


def _bytes(folder: Path, seen: set[tuple[int, int]]) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # removed meanwhile
                info = os.lstat(os.path.join(parent, name))
                if (info.st_dev, info.st_ino) not in seen:
                    seen.add((info.st_dev, info.st_ino))
                    total += info.st_blocks * 512  # blocks, not st_size: a file with holes takes less
    return total


def clean(part: str, folder: Path) -> int:
    """Delete for good what one part holds and nobody uses; return how many bytes that was. Raises UserError."""
    access.changing()
    before = use(folder)
    try:
        if part == "trash":
            trash.purge_rest(folder, time.time())
            trash.purge(trash.content(folder))
        elif part == CACHE:
            _clean_cache(folder / CACHED)
        elif part == NOTES:
            for report in _notes(folder):
                shutil.rmtree(report.path, ignore_errors=True)
        elif part == ASKED:
            shutil.rmtree(folder / layout.ASKED, ignore_errors=True)
        elif part == UPLOADS:
            for path in _unused(folder):
                shutil.rmtree(path, ignore_errors=True)
        else:
            raise ValueError(f"no part to clean: {part}")
    except OSError as error:
        raise failure_sentences.disk_error(folder, error) from error
    return max(0, before.total - use(folder).total)


def _clean_cache(cache: Path) -> None:
    """Delete all stages but those that a worker makes or takes at the moment."""
    from filelock import FileLock, Timeout

    for stage in [path for path in cache.glob("*/*") if path.is_dir()]:
        # The lock's file stays: a worker may be waiting for it, and the next one must wait for the same.
        with (
            contextlib.suppress(Timeout),
            FileLock(stage.with_name(f"{stage.name.removesuffix('.partial')}.lock"), timeout=0),
        ):
            shutil.rmtree(stage, ignore_errors=True)


def _unused(folder: Path) -> list[Path]:
    """Return the folders of files that people uploaded and no run is made with, nor can be taken back."""
    runs = [*store.list_runs(folder), *(Run(deleted.path) for deleted in trash.content(folder))]
    # By name, which is a hash of the content: the folder itself may be reached, and written down, in several ways.
    used = {Path(str(mapping(run.json("config.json"), "data").get("source") or "")).parent.name for run in runs}
    uploaded = [path for path in (folder / UPLOADED).glob("*") if path.is_dir() and path.name not in used]
    return [path for path in uploaded if time.time() - path.stat().st_mtime > NEW]


def _notes(folder: Path) -> list[Run]:
    """Return the folders of later work that has ended and left its results elsewhere: those of a bundled run's probes lie
    there.
    """
    return [
        report
        for report in layout.reports(folder)
        if report.status().get("state") not in store.ALIVE and not (report.path / "probes").exists()
    ]
