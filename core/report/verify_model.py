"""Asking a run's model again, in a process that waits for the device (core/report/rescore.py): how it is started and read.

No heavy import.
"""

from __future__ import annotations

from pathlib import Path

from core.jobs import lifecycle
from core.report.verify_run import SKIPPED, Check
from core.runs import layout
from core.runs.store import Run
from core.util.errors import UserError

CHECKS = "checks.json"
"""file of the job's folder: what the checks found"""
NOTHING = Check("model", SKIPPED, "The run recorded no tokens, so there is nothing to score again.")


def start(run: Run, sample: int, seed: int | None, folder: Path | None = None) -> Run:
    """Start the worker that scores so many examples again; return the folder where it reports.

    seed: of the sample; a new one where None. folder: where runs lie. Raises UserError while it is done already.
    """
    job_folder = layout.job_folder("rescore", run, folder)
    wanted = {"run": str(run.path), "sample": sample, "seed": seed}
    if not lifecycle.begin("rescore", job_folder, run.config(), wanted, CHECKS):
        raise UserError(f"The model of {run.id} is being asked again already.", "Wait for it.")
    return job_folder


def checks(job_folder: Run) -> list[Check]:
    """Return what a job that ended well found."""
    return [Check(**record) for record in job_folder.json(CHECKS) or []]
