"""Run directories: written atomically, read tolerantly. No heavy import: pages and the command line read through it.

A run is a folder of JSON, JSONL, Parquet and safetensors, with a manifest of hashes. Everything a reader needs is in it;
cached stages are linked or copied in.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.run_config import FORMAT, RunConfig, from_json
from core.runs import liveness
from core.util import access, paths, safe_read
from core.util.errors import UserError, unknown
from core.util.failure_sentences import disk_error as disk_error
from core.util.files import write_json

if TYPE_CHECKING:
    import pandas as pd

STAGES = ("teach", "preflight", "localize", "region", "unlearn", "retrain", "reference", "answers", "evaluate")
COMPARED = ("retrain", "reference")
"""stages of a run that teaches, unless teach.retrain is off"""
OWN = ("unlearn", "answers", "evaluate")
"""stages whose result is a run's own: those before are shared by runs that differ in the method alone"""
ALIVE = ("queued", "running")
ENDED = ("done", "cancelled", "failed")
ID = re.compile(r"\b(\d{8}-\d{6})-[a-z0-9-]+-([0-9a-f]{4})\b")
"""the id of a run that was made here: when, its name, and a few random digits"""
BUNDLED_RUNS = paths.ASSETS / "runs"


def runs_folder(given: str | Path | None = None) -> Path:
    """Return --runs, else FORGETSCOPE_RUNS, else ./runs."""
    return Path(given or os.environ.get("FORGETSCOPE_RUNS") or "runs").expanduser().absolute()


@dataclass(frozen=True)
class Run:
    """A run directory. Every read is tolerant: a missing or damaged part is None or empty, never an exception."""

    path: Path

    @property
    def id(self) -> str:
        """The folder's name, used in links."""
        return self.path.name

    @property
    def bundled(self) -> bool:
        """Whether it ships with the project (and is read-only)."""
        return self.path.parent == BUNDLED_RUNS

    def json(self, name: str) -> Any:
        """Return a JSON file's value, None where it is missing or damaged."""
        return safe_read.json_value(self.path / name)

    def config(self) -> RunConfig:
        """Return the run's configuration. Raises UserError where it is unreadable or from a newer format."""
        try:
            config = _config((self.path / "config.json").read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            config = None
        if config is None:
            raise UserError(f"The run {self.id} has no readable config.json.", "Delete it or restore the file.")
        return config

    @property
    def manager(self) -> Run:
        """Where the manager of a run on a cluster reports, unless it belongs to a sweep."""
        return Run(self.path / ".ray")

    def status(self) -> dict[str, Any]:
        """Return state, stage, stages, pid, heartbeat, …; a worker that is gone makes the state "failed"."""
        content = self.json("status.json")
        status: dict[str, Any] = content if liveness.readable(content) else {"state": "unreadable"}
        if status.get("state") in ALIVE and not liveness.alive(status) and not self.managing(status):
            status |= {"state": "failed", **liveness.obituary(self.path, str(status.get("stage") or ""))}
        return status

    def managing(self, status: dict[str, Any]) -> dict[str, Any]:
        """Return the status of the living manager of a run on a cluster, empty where there is none."""
        if not status.get("ray"):
            return {}
        sweep = paths.inside(self.path.parent / ".sweeps", str(status.get("sweep") or ""))
        manager = Run(sweep) if sweep else self.manager
        record = manager.json("status.json")
        good = liveness.readable(record) and record.get("state") in ALIVE and liveness.alive(record)
        return record if good else {}

    def events(self) -> list[dict[str, Any]]:
        """Return all events; a half-written last line is left out."""
        return self.events_after(0)[0]

    def events_after(self, line: int) -> tuple[list[dict[str, Any]], int]:
        """Return the events after so many lines, and the number of lines to pass over next time.

        Lines are counted, not events: a damaged line is passed over once and for all.
        """
        try:
            lines = (self.path / "events.jsonl").read_bytes().split(b"\n")[:-1]
        except OSError:
            return [], line
        return safe_read.json_objects(lines[line:]), max(line, len(lines))

    def table(self, name: str) -> pd.DataFrame | None:
        """Return a parquet file as a table, None where it is missing or damaged."""
        return safe_read.table(self.path / f"{name}.parquet")

    def answers(self) -> list[dict[str, Any]]:
        """Return the recorded answers: example, question, answer, scope, split, subject, and one entry a voice."""
        try:
            return safe_read.json_objects((self.path / "answers.jsonl").read_bytes().split(b"\n"))
        except OSError:
            return []

    def problem(self) -> str:
        """Return why the run cannot be read, or an empty string."""
        try:
            self.config()
        except UserError as error:
            return str(error)
        return "" if liveness.readable(self.json("status.json")) else f"The run {self.id} has no readable status.json."

    def cancel(self) -> None:
        """Ask the worker to stop; it looks at every step."""
        access.changing()
        try:
            (self.path / "cancel").touch()
        except OSError as error:
            raise disk_error(self.path / "cancel", error) from error


@functools.lru_cache(maxsize=256)
def _config(text: str) -> RunConfig | None:
    """Read a configuration, None for what is no JSON. A page asks a dozen times; it is frozen, so that all get the same
    one.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return None if values is None else from_json(values)


def create(config: RunConfig, folder: Path) -> Run:
    """Make a new run directory with its configuration, queued.

    Raises UserError where nothing can be written, and for a region whose settings exclude each other.
    """
    access.changing()
    config.region.check()
    method, source = config.unlearn.method.label, Path(config.data.source).name
    name = config.name or f"{method} on {source} {config.data.subset}"
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "run"
    run = Run(folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}-{uuid.uuid4().hex[:4]}")
    try:
        run.path.mkdir(parents=True)
        config.with_setting("name", name).save(run.path / "config.json")
    except OSError as error:
        raise disk_error(folder, error) from error
    write_json(run.path / "status.json", fresh_status())
    return run


def prepare(job_folder: Run, config: RunConfig, *further: str) -> None:
    """Make a folder ready for work: write its configuration, and remove what earlier work reported, and further files of it.

    Raises UserError where nothing can be written. The status is left to the caller, last: with it the work counts as begun.
    """
    access.changing()
    try:
        job_folder.path.mkdir(parents=True, exist_ok=True)
        for name in ("cancel", "events.jsonl", *further):
            with contextlib.suppress(FileNotFoundError):
                (job_folder.path / name).unlink()
        config.save(job_folder.path / "config.json")
    except OSError as error:
        raise disk_error(job_folder.path, error) from error


def fresh_status() -> dict[str, Any]:
    """Return the status of a run whose worker has not reported yet."""
    now = time.time()
    return {
        "format": FORMAT,
        "state": "queued",
        "stage": "",
        "stages": {},
        "created": now,
        "heartbeat": now,
        "host": os.uname().nodename,
        "pid": None,
        "error": "",
        "owner": access.owner(),
    }


def list_runs(folder: Path) -> list[Run]:
    """Return all runs in a folder, newest first, unreadable ones included."""
    try:
        runs = [Run(p) for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    except OSError:
        return []
    return sorted(runs, key=lambda run: run.id, reverse=True)


def bundled_runs() -> list[Run]:
    """Return the finished runs that ship with the project, clean on people first: a visitor begins with it."""
    order = ("privacy-clean", "copyright-clean", "privacy-memflex")
    return sorted(list_runs(BUNDLED_RUNS), key=lambda run: order.index(run.id) if run.id in order else len(order))


def find(name: str, folder: Path) -> Run:
    """Return a run by id, unique beginning of an id, or path: what a person types. Raises UserError with the nearest id."""
    with contextlib.suppress(UserError, OSError, ValueError):
        if len(Path(name).parts) > 1 and (paths.given(name) / "config.json").is_file():
            return Run(paths.given(name).absolute())
    return by_id(name, folder)


def nameless(text: str) -> str:
    """Return a text whose ids of runs are their time and suffix only: between these stands the run's name, which may be a
    person's.
    """
    return ID.sub(r"\1-\2", text)


def by_id(name: str, folder: Path) -> Run:
    """Return a run by id, an id without its name, or a unique beginning of an id: what a file or an address says. Raises
    UserError with the nearest id.
    """
    there = {run.id: run for run in [*bundled_runs(), *list_runs(folder)]}
    starts = [run for key, run in there.items() if name and (key.startswith(name) or nameless(key) == name)]
    if name in there or len(starts) == 1:
        return there.get(name) or starts[0]
    raise unknown("run", name, there)
