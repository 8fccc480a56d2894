"""The runs of a sweep, one after the other on one loaded model. Imports torch: only a worker does so."""

from __future__ import annotations

from core.jobs import calibrate, queue, unlearning_series
from core.jobs.status_log import Log
from core.jobs.sweep import Sweep
from core.jobs.sweep_worker import readable
from core.jobs.worker import queue_folder, reporting
from core.models.model_cache import ModelCache
from core.pipeline.pipeline import execute
from core.pipeline.setup import set_up
from core.runs.store import Run
from core.serve import client
from core.util import access
from core.util.progress import forget_peak_memory


def until_others_wait(sweep: Sweep, log: Log, waiting: list[Run], total: int) -> None:
    """Execute and take away run after run, until none is left or somebody else waits for the device."""
    cache = ModelCache()
    while waiting:
        log.check()
        run = waiting.pop(0)
        log.write(now=run.id, runs={"ended": total - len(waiting) - 1, "total": total})
        _one(sweep, run, cache)
        config = readable(run)
        if config and queue.others_wait(queue_folder(config), access.owner()):
            cache.clear()  # the memory is the other one's
            return


def _one(sweep: Sweep, run: Run, cache: ModelCache) -> None:
    """Execute one run of a sweep; what goes wrong stays in its own status."""

    def go(log: Log) -> None:
        log.check()
        log.begin()
        if sweep.kind == "tune":
            calibrate.settle(sweep, run, cache, log)
        state = set_up(run, run.config(), sweep.folder, log, cache=cache, make_room=client.leave)
        execute(state)
        if sweep.kind == "requests":
            unlearning_series.measure(sweep, run, state)

    forget_peak_memory()
    # After anything but a good end the model may be in the middle of something: the next run loads it anew.
    if reporting(run, go, within=sweep.place) == 0:
        cache.tidy()
    else:
        cache.clear()
