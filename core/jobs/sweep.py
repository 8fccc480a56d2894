"""A sweep: many ordinary runs that one worker executes in turn, keeping the model loaded.

RUNS/.sweeps/ID/ holds sweep.json (what was asked for, and which runs belong to it, each with its coordinates and role)
and the worker's status.json. The runs themselves are run directories like any other. A sweep's folder is laid out as a
run's where the worker is concerned, so that it is followed, cancelled and found dead in the same way. No heavy import.
"""

from __future__ import annotations

import re
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.run_config import FORMAT, RunConfig
from core.jobs import queue_limits
from core.plan import admission
from core.runs import store
from core.runs.layout import KINDS as JOBS
from core.runs.liveness import GONE
from core.runs.store import Run
from core.util import access, failure_sentences, files, paths
from core.util.errors import UserError, unknown
from core.util.safe_read import mapping


@dataclass(frozen=True)
class Member:
    """One run of a sweep before it exists."""

    config: RunConfig
    coordinates: Mapping[str, Any]
    """what tells it from its neighbours: method, region, seed, …"""
    role: str = "run"
    """run, trial, refit, given, control or request"""
    existing: Run | None = None
    """a finished run that belongs to the sweep without being made by it"""


@dataclass(frozen=True)
class Entry:
    """One run of a sweep, as sweep.json lists it."""

    run: Run
    coordinates: Mapping[str, Any]
    role: str


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder. Every read is tolerant, as a run's."""

    path: Path

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def folder(self) -> Path:
        """The folder of runs that it belongs to."""
        return self.path.parent.parent

    @property
    def as_run(self) -> Run:
        """The folder seen as a run: its status, its cancel file, its lock."""
        return Run(self.path)

    def record(self) -> dict[str, Any]:
        """Return sweep.json, empty where it is missing, damaged or of a newer format."""
        record = self.as_run.json("sweep.json")
        good = isinstance(record, dict) and isinstance(record.get("format"), int) and record["format"] <= FORMAT
        return record if good else {}

    @property
    def kind(self) -> str:
        """Grid, tune, refit, controls or requests."""
        return str(self.record().get("kind", ""))

    @property
    def seconds(self) -> float | None:
        """How long each of its runs unlearns, where it gives them a time instead of steps."""
        return mapping(self.record(), "asked").get("seconds") if self.kind == "tune" else None

    @property
    def name(self) -> str:
        """Shown in lists."""
        return str(self.record().get("name") or self.id)

    def entries(self) -> list[Entry]:
        """Return its runs with coordinates and role, in the order of execution."""
        return [
            Entry(_found(str(entry["run"]), self.folder), dict(entry.get("coordinates", {})), str(entry.get("role", "run")))
            for entry in self.record().get("runs", [])
            if isinstance(entry, dict) and isinstance(entry.get("run"), str) and paths.inside(self.folder, entry["run"])
        ]

    def update(self, **values: Any) -> None:
        """Change sweep.json; only its creator and its worker do."""
        files.write_json(self.path / "sweep.json", {**self.record(), **values})


def _found(name: str, folder: Path) -> Run:
    bundled = Run(store.BUNDLED_RUNS / name)
    return bundled if bundled.path.is_dir() and not (folder / name).is_dir() else Run(folder / name)


def home(folder: Path) -> Path:
    """Return the folder of sweeps of a folder of runs."""
    return folder / JOBS["sweep"].folder


def create(
    kind: str, name: str, asked: Mapping[str, Any], members: Sequence[Member], folder: Path, *, here: bool = True
) -> Sweep:
    """Make a sweep and its runs, queued. here: whether this machine does them, and not a cluster.

    Raises UserError for no runs, several devices, a folder that is read-only, and for what would end any of the runs: then
    none is made.
    """
    access.changing()
    if not members:
        raise UserError("This sweep has no run.", "Ask for at least one method, region and seed.")
    if len({member.config.model.device for member in members}) > 1:
        raise UserError("A sweep runs on one device.", "Start a sweep for each device.")
    queue_limits.starting(folder)
    admission.check_all([member.config for member in members if not member.existing], folder, here=here)
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:30] or kind
    sweep = Sweep(home(folder) / f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}-{uuid.uuid4().hex[:4]}")
    runs = []
    for number, member in enumerate(members, start=1):
        shown = f"{number:03d} {name} {described(member.coordinates)}"
        run = member.existing or store.create(member.config.with_setting("name", shown[:200]), folder)
        if not member.existing:
            files.write_json(run.path / "status.json", store.fresh_status() | {"sweep": sweep.id})
        runs.append({"run": run.id, "coordinates": dict(member.coordinates), "role": member.role})
    record = {
        "format": FORMAT,
        "id": sweep.id,
        "name": name,
        "kind": kind,
        "created": time.time(),
        "asked": dict(asked),
        "runs": runs,
    }
    try:
        sweep.path.mkdir(parents=True)
    except OSError as error:
        raise failure_sentences.disk_error(sweep.path, error) from error
    files.write_json(sweep.path / "sweep.json", record)
    files.write_json(sweep.path / "status.json", store.fresh_status())
    return sweep


def described(coordinates: Mapping[str, Any]) -> str:
    """Say in a few words where a run stands: memflex, located, seed 0."""
    plain = ("method", "region", "subset", "subject", "control")
    return ", ".join(str(value) if key in plain else f"{key} {_short(value)}" for key, value in coordinates.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def list_sweeps(folder: Path) -> list[Sweep]:
    """Return all sweeps of a folder of runs, newest first; unreadable ones are left out."""
    try:
        sweeps = [Sweep(path) for path in home(folder).iterdir() if path.is_dir()]
    except OSError:
        return []
    return sorted((sweep for sweep in sweeps if sweep.record()), key=lambda sweep: sweep.id, reverse=True)


def find(name: str, folder: Path) -> Sweep:
    """Return a sweep by id or a unique beginning of one. Raises UserError with the nearest id."""
    sweeps = {sweep.id: sweep for sweep in list_sweeps(folder)}
    starts = [sweep for key, sweep in sweeps.items() if name and key.startswith(name)]
    if name in sweeps or len(starts) == 1:
        return sweeps.get(name) or starts[0]
    raise unknown("sweep", name, sweeps)


def needed_by(run: Run) -> Sweep | None:
    """Return the sweep without whose worker a run would be something else: its requests are measured, its seconds become
    steps.
    """
    path = paths.inside(home(run.path.parent), str(run.status().get("sweep") or ""))
    sweep = Sweep(path) if path else None
    if sweep is None or sweep.kind == "requests":
        return sweep
    return sweep if sweep.kind == "tune" and sweep.record().get("asked", {}).get("seconds") else None


def members(sweep: Sweep) -> list[Run]:
    """Return its runs, in the order of execution."""
    return [entry.run for entry in sweep.entries()]


def state(sweep: Sweep) -> dict[str, Any]:
    """Return {"state", "error", "position", "now", "counts": state -> runs, "ended", "total"}; now: what it is at."""
    status = sweep.as_run.status()
    counts = Counter(str(run.status().get("state")) for run in members(sweep))
    ended = sum(counts[name] for name in store.ENDED)
    return {
        "state": status.get("state"),
        "error": status.get("error", ""),
        "position": status.get("position", 0),
        "now": status.get("now", ""),
        "counts": dict(counts),
        "ended": ended,
        "total": sum(counts.values()),
    }


def cancel(sweep: Sweep) -> None:
    """Ask the worker to stop: the run at work keeps its partial result, the others do not begin."""
    sweep.as_run.cancel()


def reopen(sweep: Sweep, *, here: bool = True) -> None:
    """Make everything that is not done ready to run again. here: as in `create`.

    Raises UserError while a worker is at it, and for what would end any of the runs.
    """
    status = sweep.as_run.status()
    if status.get("state") in store.ALIVE:
        raise UserError(f"The sweep {sweep.id} is {status['state']}.", "Wait for it, or cancel it first.")
    queue_limits.starting(sweep.folder)
    left = [run for run in members(sweep) if run.status().get("state") != "done" and not run.problem()]
    admission.check_all([run.config() for run in left], sweep.folder, here=here, coming=[run.id for run in left])
    (sweep.path / "cancel").unlink(missing_ok=True)
    files.write_json(sweep.path / "status.json", store.fresh_status())
    for run in members(sweep):
        status = run.status()
        if run.path.is_dir() and status.get("state") != "done":
            (run.path / "cancel").unlink(missing_ok=True)
            # A run at which the worker died may do it again: it comes after all others.
            gone = status.get("state") == "failed" and str(status.get("error", "")).startswith(GONE)
            died = int(status.get("died") or 0) + bool(gone and status.get("began"))
            again = {"died": died} if died else {}
            files.write_json(run.path / "status.json", store.fresh_status() | {"sweep": sweep.id} | again)


def refresh(sweep: Sweep) -> None:
    """Let what waits count as asked for now: a worker is about to start, after minutes perhaps of measuring what it will
    take.

    Nothing else changes: what somebody cancelled meanwhile stays cancelled.
    """
    now = time.time()
    for run in (sweep.as_run, *members(sweep)):
        status = run.json("status.json")
        if isinstance(status, dict) and status.get("state") == "queued" and not status.get("pid"):
            files.write_json(run.path / "status.json", {**status, "created": now, "heartbeat": now})
