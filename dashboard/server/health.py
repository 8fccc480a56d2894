"""The address /healthz: whether this installation can do its work, for a monitor or a reverse proxy that asks often.

It looks and writes nothing. Anybody may ask, signed in or not, so the answer names no path (they hold users' names), no run
and nobody.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from core.jobs import queue as tickets
from core.runs import store
from core.util import access
from core.util.version import version


@dataclass(frozen=True)
class Health:
    """How an installation is."""

    version: str
    """of Forgetscope"""
    readable: bool
    """the folder of runs can be listed, or is not there yet and can be made"""
    writable: bool
    """a run can be put there: by its rights, by the file system, and there is room; a quota of the file system is not
    seen"""
    free_disk_mb: int
    """where the runs are; 0 where that is nowhere"""
    queue: int | None
    """runs at work and waiting on this machine; None where the queue cannot be read"""

    @property
    def wrong(self) -> str:
        """What keeps it from working, one sentence; empty where nothing does."""
        if not self.readable:
            return "The folder of runs cannot be read."
        if not self.writable and not access.read_only():
            return "The folder of runs cannot be written, or its disk is full."
        return ""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, with its state in one word."""
        return {"status": "unusable" if self.wrong else "ok", "wrong": self.wrong, **asdict(self)}


def health(folder: Path) -> Health:
    """Look at a folder of runs and at this machine's queue."""
    # lexists: a link to nowhere is where runs would be put, and they cannot be; its parents would say they can.
    nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    inside = nearest.is_dir() and os.access(nearest, os.R_OK | os.X_OK)
    free = shutil.disk_usage(nearest).free if inside else 0
    writable = inside and os.access(nearest, os.W_OK) and free > 0
    return Health(version(), inside and (nearest == folder or writable), writable, free // 2**20, _queue())


def _queue() -> int | None:
    try:
        return sum(len(waiting) for waiting in tickets.queues().values())
    except OSError:
        return None


def healthz(_: Request) -> JSONResponse:
    """Answer 200, or 503 where runs cannot be kept. Not async: a slow disk then holds up no other answer."""
    report = health(store.runs_folder())
    return JSONResponse(report.as_json(), 503 if report.wrong else 200, {"cache-control": "no-store"})
