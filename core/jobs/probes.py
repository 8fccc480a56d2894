"""Probes in a process of their own, started, followed and cancelled as a run is. No heavy import.

The process is a worker (core/jobs/worker.py) that waits for the device like any other. It reports at RUNS/.probes/ID/, laid
out like a run's folder, so whoever comes later finds it there: status.json, events.jsonl, worker.log, and wanted.json, what
was asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core import probes
from core.jobs import lifecycle, limits
from core.runs import askable, locks, store
from core.runs.store import Run
from core.serve import client
from core.util import files, process
from core.util.errors import UserError

WANTED = "wanted.json"


def place(run: Run, folder: Path | None = None) -> Run:
    """Return where the work on a run's probes reports, whether or not it has begun. folder: where runs lie."""
    runs = (folder or store.runs_folder()) if run.bundled else run.path.parent
    return Run(runs / f".{probes.FOLDER}" / run.id)


def busy(run: Run, folder: Path | None = None) -> bool:
    """Say whether probes are being made for a run now."""
    return place(run, folder).status().get("state") in store.ALIVE


def start(run: Run, names: Sequence[str] = (), settings: Mapping[str, Any] | None = None, folder: Path | None = None) -> Run:
    """Start the worker that makes some probes (none named: all); return the place where it reports.

    Raises UserError for unknown names and settings, where the run has no unlearned model, and while others are being made.
    """
    probes.chosen(names, settings)
    askable.unlearned(run)
    found = place(run, folder)
    limits.starting(found.path.parent.parent)
    with locks.beginning(found):
        if busy(run, folder):
            raise UserError(f"Probes of {run.id} are being made already.", "Wait for them, or cancel them.")
        store.prepare(found, run.config())
        files.write_json(
            found.path / WANTED, {"run": str(run.path), "probes": list(names), "settings": dict(settings or {})}
        )
        files.write_json(found.path / "status.json", store.fresh_status())
        lifecycle.start_probes(found)
    return found


def work(found: Run) -> int:
    """Make the probes that were asked for at a place, in the worker; return the exit status of the process."""
    from core.jobs.status_log import Log
    from core.jobs.worker import reporting, turn

    wanted = found.json(WANTED)
    run = Run(Path(wanted["run"]))

    def make(log: Log) -> None:
        with turn(run.config(), log):
            log.begin()
            with process.uncollected():
                from core.probes.examine import examine  # torch is imported here, when it is this work's turn

            examine(run, wanted["probes"], log, wanted["settings"], found.path.parent.parent, client.leave)

    return reporting(found, make)
