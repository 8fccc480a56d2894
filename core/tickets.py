"""The queue for a device: one file a waiting worker, in an order that people may change.

A ticket is made and removed by its worker. Its name is when it was made and by which process; its content says for
which run, and its place in the queue where that was changed. There is no dispatcher: everybody reads the same folder.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import store
from core.store import Run


@dataclass(frozen=True)
class Ticket:
    """A place in the queue of a device."""

    path: Path
    run: Path | None
    """the run's folder; None in a ticket without content"""
    order: int
    """lower is earlier; the time of the ticket in nanoseconds unless it was moved"""

    @property
    def pid(self) -> int:
        """The process that waits."""
        return int(self.path.name.rpartition("-")[2])

    @property
    def place(self) -> tuple[int, str]:
        """What tickets are sorted by."""
        return self.order, self.path.name


def base() -> Path:
    """Return the folder that holds a folder of tickets for each device."""
    from core.models import cache_folder

    return Path(os.environ.get("FORGETSCOPE_QUEUE") or cache_folder() / "queue")


def take(folder: Path, run: Run) -> Path:
    """Take a ticket at the end of a device's queue and return its path. Raises UserError, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    order = max([time.time_ns(), *(ticket.order + 1 for ticket in waiting(folder))])
    path = folder / f"{time.time_ns():020d}-{os.getpid()}"
    store.write_json(path, {"run": str(run.path), "order": order})
    return path


def waiting(folder: Path) -> list[Ticket]:
    """Return the tickets of living workers in their order, the one at work included; tickets of dead ones are removed."""
    import psutil

    found = []
    for path in folder.glob("[0-9]*-[0-9]*"):
        ticket = _read(path)
        if ticket and psutil.pid_exists(ticket.pid):
            found.append(ticket)
        else:
            path.unlink(missing_ok=True)
    return sorted(found, key=lambda ticket: ticket.place)


def _read(path: Path) -> Ticket | None:
    """Read a ticket; None where the name is not one's. A damaged content means: no run, the time of the name."""
    made, _, pid = path.name.rpartition("-")
    if not (made.isdigit() and pid.isdigit()):
        return None
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        values = None
    values = values if isinstance(values, dict) else {}
    order, run = values.get("order"), values.get("run")
    return Ticket(path, Path(run) if isinstance(run, str) else None, order if isinstance(order, int) else int(made))


def ahead(folder: Path, mine: Path) -> int:
    """Count the tickets before one's own."""
    for number, ticket in enumerate(tickets := waiting(folder)):
        if ticket.path == mine:
            return number
    return len(tickets)


def queues() -> dict[str, list[Ticket]]:
    """Return each device's tickets, without empty queues."""
    try:
        folders = sorted(path for path in base().iterdir() if path.is_dir())
    except OSError:
        return {}
    return {path.name: tickets for path in folders if (tickets := waiting(path))}


def move(run: Run, step: int) -> bool:
    """Let a waiting run change places with the one before (-1) or after it (+1); return whether that was possible.

    A run that is at work keeps its place: nobody can get before it.
    """
    from filelock import FileLock

    for device in queues():
        folder = base() / device
        try:
            with FileLock(folder / "order.lock"):
                movable = [t for t in waiting(folder) if t.run is None or Run(t.run).status().get("state") == "queued"]
                places = [t.run for t in movable]
                if run.path not in places:
                    continue
                here = places.index(run.path)
                there = here + step
                if not 0 <= there < len(movable):
                    return False
                movable[here], movable[there] = movable[there], movable[here]
                _renumber(movable)
                return True
        except OSError as error:
            raise store.disk_error(folder, error) from error
    return False


def _renumber(tickets: list[Ticket]) -> None:
    """Write the places of tickets that stand in the wanted order; the places themselves are the ones they had."""
    last = 0
    for ticket, order in zip(tickets, sorted(ticket.order for ticket in tickets), strict=True):
        last = max(order, last + 1)
        # A worker that has gone meanwhile took its ticket along: it must not come back.
        if ticket.order != last and ticket.path.exists():
            store.write_json(ticket.path, {"run": str(ticket.run) if ticket.run else None, "order": last})
