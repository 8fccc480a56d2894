"""Everything that is queued or at work in a folder of runs, whoever started it: runs, sweeps, and later work on runs.

A sweep's runs count as the sweep, because one worker does them. No heavy import.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.runs import store
from core.runs.layout import KINDS
from core.runs.store import Run
from core.util import access


@dataclass(frozen=True)
class Work:
    """A place at which a worker is at work or awaited."""

    place: Run
    kind: str
    """one of KINDS"""
    status: dict[str, Any]

    @property
    def owner(self) -> str:
        """For whom it is done."""
        return str(self.status.get("owner") or access.SHELL)

    @property
    def since(self) -> float:
        """When it began, or was asked for where it waits; seconds since 1970."""
        began = self.status.get("began") if self.status.get("state") == "running" else None
        return float(began or self.status.get("created") or 0)


def work(folder: Path) -> list[Work]:
    """Return all that lives in a folder of runs, first what runs, then what was asked for first."""
    every = [
        Work(place, name, place.status()) for name, kind in KINDS.items() for place in store.list_runs(folder / kind.folder)
    ]
    alive = [one for one in every if one.status.get("state") in store.ALIVE and not one.status.get("sweep")]
    return sorted(alive, key=lambda one: (one.status.get("state") != "running", float(one.status.get("created") or 0)))
