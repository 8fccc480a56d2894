"""Leak probes in a process of their own, started, followed and cancelled as a run is. No heavy import.

The process waits for the device like any other. It reports at RUNS/.probes/ID/, laid out like a run's folder, so whoever
comes later finds it there: status.json, events.jsonl, worker.log, and wanted.json, what is to be made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core import probes
from core.jobs import lifecycle
from core.runs import askable, layout
from core.runs.store import Run
from core.util.errors import UserError


def start(run: Run, names: Sequence[str] = (), settings: Mapping[str, Any] | None = None, folder: Path | None = None) -> Run:
    """Start the worker that makes some probes (none named: all); return the folder where it reports.

    Raises UserError for unknown names and settings, where the run has no unlearned model, and while others are being made.
    """
    probes.chosen(names, settings)
    askable.unlearned(run)
    job_folder = layout.job_folder("probes", run, folder)
    wanted = {"run": str(run.path), "probes": list(names), "settings": dict(settings or {})}
    if not lifecycle.begin("probes", job_folder, run.config(), wanted):
        raise UserError(f"Probes of {run.id} are being made already.", "Wait for them, or cancel them.")
    return job_folder
