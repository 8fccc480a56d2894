"""What a worker does for each kind of job, once it is its turn. Imports torch: only such a process imports this, by name."""

from __future__ import annotations

import shutil
from pathlib import Path

from core.config.run_config import RunConfig
from core.jobs import reference as reference_
from core.jobs.lifecycle import WANTED
from core.jobs.status_log import Log
from core.models.distributed import Crew
from core.pipeline.audit_run import Auditing
from core.pipeline.pipeline import Pipeline
from core.pipeline.reference import Retraining
from core.plan.measure import Estimate
from core.probes.examine import examine
from core.runs import locks, stage_files
from core.runs.store import Run
from core.util import files
from core.util.progress import Reporter, now


def whole(run: Run, config: RunConfig, folder: Path, report: Reporter, crew: Crew) -> None:
    """Do all stages of a run. folder: where runs lie, and their cache."""
    Pipeline(run, config, folder, report, crew=crew).go()


def audit(run: Run, config: RunConfig, log: Log) -> None:
    """Measure two models that were made elsewhere."""
    Auditing(run, config, log).go()


def reference(place: Run, log: Log) -> None:
    """Add the voice of a model taught without U to a run. Raises UserError, as `core.jobs.reference.check` does."""
    run = Run(Path(place.json(WANTED)["run"]))
    reference_.check(run)
    with locks.single_worker(run):
        Retraining(run, run.config(), run.path.parent, log).go()


def probes(place: Run, log: Log) -> None:
    """Make the probes that are wanted for a run."""
    wanted = place.json(WANTED)
    examine(Run(Path(wanted["run"])), wanted["probes"], log, wanted["settings"], folder=place.path.parent.parent)


def estimate(place: Run, log: Log) -> None:
    """Measure a few steps of each stage of a configuration; write plan.json."""
    began = float(log.status["began"])
    try:
        measured = Estimate(place, place.config(), place.path.parent.parent, log, began).measure()
        files.write_json(place.path / "plan.json", {**measured, "measured": now(), "seconds": now() - began})
    finally:
        # What re-used stages brought along goes: an estimate is a few numbers.
        for name in ("before", "taught"):
            shutil.rmtree(place.path / name, ignore_errors=True)
        for name in ("widened.jsonl", *(name for names in stage_files.SHIPPED.values() for name in names)):
            (place.path / name).unlink(missing_ok=True)
