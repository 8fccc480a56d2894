"""Whether runs can be handed to a Ray cluster, what each takes of it, and marking them as handed over. Knows Ray by name
only.
"""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from core.jobs.sweep import Sweep
from core.runs import store
from core.runs.store import Run
from core.util import failure_sentences, files
from core.util.errors import UserError

ADDRESS = ("FORGETSCOPE_RAY", "RAY_ADDRESS")
"""environment variables that name the cluster, as Ray writes it: HOST:PORT or auto; the first one wins"""


ANSWERS, CONNECTS = 5.0, 15.0
"""Seconds in which the address has to take a connection, and in which the cluster behind it has to let us in."""


@dataclass(frozen=True)
class Resources:
    """What a node must have free for one run, and reserves for it."""

    cpus: float = 1.0
    """CPUs, above 0; as many threads compute"""
    gpus: float | None = None
    """GPUs, 0 or more; None: one where the cluster has any and the run's device is not the CPU"""

    def __post_init__(self) -> None:
        """Refuse what no node can give."""
        if self.cpus <= 0 or (self.gpus or 0) < 0:
            raise UserError("A run needs at least a part of one CPU.", "Give --cpus above 0 and --gpus 0 or more.")


def address() -> str:
    """Return where the cluster is, empty where nobody said."""
    return next((text for name in ADDRESS if (text := os.environ.get(name, "").strip())), "")


def installed() -> bool:
    """Say whether Ray is there, without importing it."""
    return importlib.util.find_spec("ray") is not None


def offered() -> bool:
    """Say whether runs can be handed to a cluster: Ray is installed and somebody said where one is."""
    return installed() and bool(address())


def check() -> None:
    """Raise UserError where no cluster can be reached; whether it is one, only the manager finds out."""
    if not installed():
        raise UserError("Ray is not installed.", "Install it with `pip install --group ray`, or leave out --backend ray.")
    where = address()
    if not where:
        raise UserError("Nobody said where the Ray cluster is.", f"Set {ADDRESS[0]}=HOST:PORT (or {ADDRESS[1]}).")
    host, _, port = where.rpartition("://")[2].rpartition(":")
    if not port.isdigit():  # auto: Ray looks for a cluster on this machine
        return
    try:
        socket.create_connection((host, int(port)), timeout=ANSWERS).close()
    except OSError:
        raise unreachable(where) from None


def check_sweep(sweep: Sweep) -> None:
    """Raise UserError for a sweep whose runs cannot be done side by side, or where no cluster can be reached."""
    if sweep.kind == "requests":
        raise UserError("Each of these runs goes on from the one before it.", "Leave out --backend ray.")
    if sweep.kind == "tune" and sweep.record().get("asked", {}).get("seconds") is not None:
        raise no_seconds()
    check()


def no_seconds() -> UserError:
    """Return why a tuning by time has to stay on one machine."""
    return UserError("Seconds are measured on one machine, and a cluster has many.", "Leave out --seconds or --backend ray.")


def unreachable(where: str) -> UserError:
    """Return what to say when no cluster answers."""
    return UserError(f"No Ray cluster answers at {where}.", "Start one with `ray start --head`, or correct the address.")


def prepare(job_folder: Run, runs: Sequence[Run], resources: Resources, sweep: str = "") -> None:
    """Mark runs as taken care of by a manager that is about to start, which reports in a folder of its own."""
    try:
        job_folder.path.mkdir(exist_ok=True)
    except OSError as error:
        raise failure_sentences.disk_error(job_folder.path, error) from error
    files.write_json(job_folder.path / "status.json", store.fresh_status())
    for run in runs:
        values = run.json("status.json") or {}
        files.write_json(run.path / "status.json", {**values, "sweep": sweep, "ray": asdict(resources)})


def again(run: Run) -> Resources | None:
    """Return the resources of a run that was on a cluster and can go there again, else None."""
    asked = run.status().get("ray")
    return Resources(asked.get("cpus", 1.0), asked.get("gpus")) if isinstance(asked, dict) and offered() else None
