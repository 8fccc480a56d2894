"""The queue for a device: one file a waiting worker, in an order that people may change.

A ticket is made and removed by its worker. Its name is when it was made and by which process; its content says for
which run, whose it is, and its place among the owner's where that was changed. There is no dispatcher: everybody reads
the same folder, and comes to the same order.

The queue is fair: whoever had the device longest ago is next, and who never had it comes before all who had. So nobody
waits for a second run of somebody else before having had a first. It forgets who had it once nobody is left.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.runs import liveness
from core.runs.store import Run
from core.util import access, failure_sentences, files, safe_read
from core.util.paths import cache_folder

if TYPE_CHECKING:
    from filelock import BaseFileLock

SERVED = "served.json"
"""file of a queue: owner -> when a run of theirs last got the device, in nanoseconds"""


@dataclass(frozen=True)
class Ticket:
    """A place in the queue of a device."""

    path: Path
    run: Path | None
    """the run's folder; None in a ticket without content"""
    order: int
    """lower is earlier; the time of the ticket in nanoseconds unless it was moved"""
    owner: str = access.SHELL
    """for whom it waits"""
    at_work: bool = False
    """whether it has the device"""
    started: float = 0.0
    """when the process began, as core.runs.liveness.identity says it; 0 where that is not known"""

    @property
    def pid(self) -> int:
        """The process that waits."""
        return int(self.path.name.rpartition("-")[2])

    @property
    def sort_key(self) -> tuple[int, str]:
        """What the tickets of one owner are sorted by."""
        return self.order, self.path.name

    def write(self, order: int, at_work: bool) -> None:
        """Replace its content."""
        run = str(self.run) if self.run else None
        files.write_json(
            self.path, {"run": run, "order": order, "owner": self.owner, "at_work": at_work, "started": self.started}
        )


def base() -> Path:
    """Return the folder that holds a folder of tickets for each device of this machine; several may share a home."""
    return Path(os.environ.get("FORGETSCOPE_QUEUE") or cache_folder() / "queue" / os.uname().nodename)


def take(folder: Path, run: Run) -> Path:
    """Take a ticket at the end of the own ones in a device's queue and return its path. Raises UserError, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with _changing(folder):
        before = waiting(folder)
        if not before:
            (folder / SERVED).unlink(missing_ok=True)
        # The clock alone will not do: set back, it would put the newest ticket before those that wait.
        order = max([time.time_ns(), *(ticket.order + 1 for ticket in before)])
        path = folder / f"{time.time_ns():020d}-{os.getpid()}"
        started = liveness.identity()["started_process"]
        Ticket(path, run.path, order, access.owner(), started=started).write(order, at_work=False)
    return path


def begin(folder: Path, mine: Path) -> None:
    """Note that a ticket's owner has got the device. Raises UserError, OSError."""
    with _changing(folder):
        ticket = _read(mine)
        if ticket is None:
            return
        ticket.write(ticket.order, at_work=True)
        served = _served(folder)
        # A clock that was set back must not make the last one look like the first.
        files.write_json(folder / SERVED, served | {ticket.owner: max([time.time_ns(), *(t + 1 for t in served.values())])})


def waiting(folder: Path) -> list[Ticket]:
    """Return the tickets of living workers in their order, the one at work included; tickets of dead ones are removed."""
    tickets = []
    for path in folder.glob("[0-9]*-[0-9]*"):
        ticket = _read(path)
        if ticket and liveness.lives(ticket.pid, ticket.started):
            tickets.append(ticket)
        else:  # a worker that is killed takes no ticket along, so whoever looks next removes it
            path.unlink(missing_ok=True)
    return in_turn(tickets, _served(folder))


def in_turn(tickets: Sequence[Ticket], served: Mapping[str, int]) -> list[Ticket]:
    """Return tickets in the order of their turns. served: when each owner last had the device; whoever had it longest ago is
    next.
    """
    last = dict(served)
    ordered = [ticket for ticket in tickets if ticket.at_work]
    left = sorted((ticket for ticket in tickets if not ticket.at_work), key=lambda ticket: ticket.sort_key)
    turn = max(last.values(), default=0)
    while left:
        following = min(left, key=lambda ticket: (last.get(ticket.owner, -1), *ticket.sort_key))
        left.remove(following)
        ordered.append(following)
        turn += 1
        last[following.owner] = turn
    return ordered


def others_wait(folder: Path, owner: str) -> bool:
    """Say whether somebody else is waiting for a device."""
    return any(ticket.owner != owner and not ticket.at_work for ticket in waiting(folder))


def _changing(folder: Path) -> BaseFileLock:
    """Return the lock of a queue: one process at a time changes its order."""
    from filelock import FileLock

    return FileLock(folder / "order.lock")


def _served(folder: Path) -> dict[str, int]:
    values: Any = Run(folder).json(SERVED)
    return {str(k): v for k, v in values.items() if isinstance(v, int)} if isinstance(values, dict) else {}


def _read(path: Path) -> Ticket | None:
    """Read a ticket; None where the name is not one's. A damaged content means: no run, the time of the name."""
    stamp, _, pid = path.name.rpartition("-")
    if not (stamp.isdigit() and pid.isdigit()):
        return None
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        values = None
    values = values if isinstance(values, dict) else {}
    order, run = values.get("order"), values.get("run")
    return Ticket(
        path,
        Path(run) if isinstance(run, str) else None,
        order if isinstance(order, int) else int(stamp),
        str(values.get("owner") or access.SHELL),
        values.get("at_work") is True,
        safe_read.number(values.get("started")) or 0.0,
    )


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
    """Let a waiting run change places with its owner's one before (-1) or after it (+1); return whether that was possible.

    A run that is at work keeps its place: nobody can get before it. Between owners the order is the queue's alone.
    """
    access.changing()
    for device in queues():
        folder = base() / device
        try:
            with _changing(folder):
                there = [t for t in waiting(folder) if t.run is None or Run(t.run).status().get("state") == "queued"]
                mine = next((ticket for ticket in there if ticket.run == run.path), None)
                if mine is None:
                    continue
                movable = [ticket for ticket in there if ticket.owner == mine.owner]
                here = movable.index(mine)
                if not 0 <= here + step < len(movable):
                    return False
                movable[here], movable[here + step] = movable[here + step], movable[here]
                _renumber(movable)
                return True
        except OSError as error:
            raise failure_sentences.disk_error(folder, error) from error
    return False


def _renumber(tickets: list[Ticket]) -> None:
    """Write the places of tickets that stand in the wanted order; the places themselves are the ones they had."""
    last = 0
    for ticket, order in zip(tickets, sorted(ticket.order for ticket in tickets), strict=True):
        last = max(order, last + 1)
        # A worker that has gone meanwhile took its ticket along: it must not come back.
        if ticket.order != last and ticket.path.exists():
            ticket.write(last, ticket.at_work)
