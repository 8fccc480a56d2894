"""What is under way: all that is queued or at work in a folder of runs, whoever started it; our processes on this machine.

A sweep's runs count as the sweep, because one worker does them. No heavy import.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from core.jobs import queue
from core.runs import labels, store
from core.runs.layout import KINDS
from core.runs.store import Run
from core.util import access
from core.util.progress import duration, now
from core.util.safe_read import mapping, number

OTHERS = {"dashboard": "server", "core.serve.server": "answerer"}
"""module that a process executes which does no job -> what it is"""
ON_RAY = "--ray"
"""last argument of a process that has a job done by a Ray cluster"""


@dataclass(frozen=True)
class Work:
    """A folder in which a worker is at work or awaited."""

    job_folder: Run
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


def kind_of(job_folder: Run) -> str:
    """Return the kind of a job by where its folder lies."""
    return next((name for name, kind in KINDS.items() if kind.folder == job_folder.path.parent.name), "run")


def called(job_folder: Run, kind: str) -> str:
    """Return what a job is called."""
    values = job_folder.json("sweep.json" if kind == "sweep" else "config.json")
    given = labels.read(job_folder).name or (str(values.get("name") or "") if isinstance(values, dict) else "")
    return f"{KINDS[kind].words} {given or job_folder.id}".strip()


@dataclass(frozen=True)
class Awaited:
    """What a job in the queue of a device waits for."""

    device: str
    """cpu, cuda or mps"""
    holder: Run | None
    """what has the device; None while it changes hands"""
    status: dict[str, Any]
    """of the holder"""
    between: int
    """jobs that come after the holder and before this one"""

    def __str__(self) -> str:
        """Say it in one or two sentences."""
        head = f"Waiting for the {'CPU' if self.device == 'cpu' else 'GPU'}"
        if self.holder is None:
            return f"{head}: {self.between} before it."
        kind = kind_of(self.holder)
        name = called(self.holder, kind)
        if kind == "run":
            name = f"run {self.holder.id} ({name})"
        began = number(self.status.get("began"))
        since = f" for {duration(max(0.0, now() - began))}" if began else ""
        more = f" {self.between} more {'is' if self.between == 1 else 'are'} before this one." if self.between else ""
        return f"{head}: {name}, at work{since}{self._left()}.{more}"

    def _left(self) -> str:
        """Say how long it will have the device: by earlier runs where these are known, else how far its stage is."""
        began, expected = number(self.status.get("began")), number(self.status.get("expected"))
        if began and expected and (left := began + expected - now()) > 0:
            return f"; about {duration(left)} left"
        stage = str(self.status.get("stage") or "")
        values = mapping(self.status, "stages", stage)
        counted = f", {values['done']:g} of {values['total']:g} {values.get('unit', '')}" if values.get("total") else ""
        return f"; it is at {stage}{counted}".rstrip() if stage else ""


def awaited(job_folder: Run) -> Awaited | None:
    """Return what a job waits for, None where it does not stand in a queue, or is the first."""
    for device, tickets in queue.queues().items():
        before = list(itertools.takewhile(lambda ticket: ticket.run != job_folder.path, tickets))
        if not before or len(before) == len(tickets):
            continue
        holder = next((Run(ticket.run) for ticket in before if ticket.at_work and ticket.run), None)
        return Awaited(device, holder, holder.status() if holder else {}, len(before) - (holder is not None))
    return None


def work(folder: Path) -> list[Work]:
    """Return all that lives in a folder of runs, first what runs, then what was asked for first."""
    every = [
        Work(job_folder, name, job_folder.status())
        for name, kind in KINDS.items()
        for job_folder in store.list_runs(folder / kind.folder)
    ]
    alive = [job for job in every if job.status.get("state") in store.ALIVE and not job.status.get("sweep")]
    return sorted(alive, key=lambda job: (job.status.get("state") != "running", float(job.status.get("created") or 0)))


@dataclass(frozen=True)
class Process:
    """A process, as it is now."""

    pid: int
    what: str
    """server, answerer, manager on the cluster, or as its kind of job says"""
    memory: int
    """bytes of its resident set; pages that it shares with others count for each"""
    since: float
    """seconds since 1970"""


def ours() -> list[Process]:
    """Return the processes, largest first."""
    me, processes = psutil.Process().username(), []
    for process in psutil.process_iter(["pid", "cmdline", "memory_info", "create_time", "username"]):
        info = process.info
        name = what(info["cmdline"] or [])
        if name and info["username"] == me and info["memory_info"]:
            processes.append(Process(info["pid"], name, info["memory_info"].rss, info["create_time"]))
    return sorted(processes, key=lambda process: -process.memory)


def what(command: Sequence[str]) -> str:
    """Return what a command (python -m MODULE …) is the process of, an empty text for any that is not ours."""
    words = " ".join(command).split()  # what was forked has its command as one text
    if len(words) < 3 or words[1] != "-m" or "python" not in words[0]:
        return ""
    if words[2] != "core.jobs":
        return OTHERS.get(words[2], "")
    kind = KINDS.get(words[3]) if len(words) > 3 else None
    return "manager on the cluster" if words[-1] == ON_RAY else kind.process if kind else ""
