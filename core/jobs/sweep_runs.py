"""The runs of a sweep, one after the other on one loaded model. Imports torch: only a worker does so."""

from __future__ import annotations

from core.jobs import calibrate, queue, unlearning_series
from core.jobs.status_log import Log
from core.jobs.sweep import Sweep
from core.jobs.sweep_worker import readable
from core.jobs.worker import queue_folder, reporting
from core.models.model_cache import Shelf
from core.pipeline.pipeline import Pipeline
from core.runs.store import Run
from core.util import access
from core.util.progress import forget_peak_memory


def until_others_wait(sweep: Sweep, log: Log, waiting: list[Run], total: int) -> None:
    """Execute and take away run after run, until none is left or somebody else waits for the device."""
    shelf = Shelf()
    while waiting:
        log.check()
        run = waiting.pop(0)
        log.write(now=run.id, runs={"ended": total - len(waiting) - 1, "total": total})
        _one(sweep, run, shelf)
        config = readable(run)
        if config and queue.others_wait(queue_folder(config), access.owner()):
            shelf.clear()  # the memory is the other one's
            return


def _one(sweep: Sweep, run: Run, shelf: Shelf) -> None:
    """Execute one run of a sweep; what goes wrong stays in its own status."""

    def go(log: Log) -> None:
        log.check()
        log.begin()
        if sweep.kind == "tune":
            calibrate.settle(sweep, run, shelf, log)
        pipeline = Pipeline(run, run.config(), sweep.folder, log, shelf)
        pipeline.go()
        if sweep.kind == "requests":
            unlearning_series.measure(sweep, run, pipeline)

    forget_peak_memory()
    # After anything but a good end the model may be in the middle of something: the next run loads it anew.
    if reporting(run, go, within=sweep.place) == 0:
        shelf.tidy()
    else:
        shelf.clear()
