"""How a worker executes a sweep: its runs share one ticket, one turn of the device and one loaded model
(core/models/model_cache.py).

Each run keeps its own status, and one that fails is no reason for the others to stop.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from core.config.run_config import RunConfig
from core.jobs import queue
from core.jobs.status_log import Log
from core.jobs.sweep import Sweep, members
from core.jobs.worker import queue_folder, reporting, turn
from core.runs import store
from core.runs.store import Run
from core.serve import client
from core.util import access, process
from core.util.errors import Cancelled, UserError

if TYPE_CHECKING:
    from core.models.model_cache import ModelCache


def work(sweep: Sweep) -> int:
    """Execute all runs of a sweep that are not done; return the exit status of the process."""
    return reporting(sweep.place, partial(_all, sweep))


def _all(sweep: Sweep, log: Log) -> None:
    """Wait for the device, then execute run after run on one cache. Raises Cancelled when the sweep is cancelled."""
    waiting = [run for run in members(sweep) if _claim(run, sweep)]
    if sweep.kind != "requests":  # of these each goes on from the one before
        waiting.sort(key=lambda run: int(run.status().get("died") or 0))
    try:
        configs, total = [value for run in waiting if (value := _readable(run))], len(waiting)
        while True:
            with turn(configs[0], log) if configs else contextlib.nullcontext():
                log.begin()
                _until_others_wait(sweep, log, waiting, total)
            if not waiting:
                break
            log.write(state="queued", now="")
        log.check()
    except Cancelled:
        for run in waiting:
            Log(run).write(state="cancelled", error="The sweep was cancelled before this run began.")
        raise
    finally:
        log.write(now="")


def _until_others_wait(sweep: Sweep, log: Log, waiting: list[Run], total: int) -> None:
    """Execute and take away run after run, until none is left or somebody else waits for the device."""
    with process.uncollected():
        from core.models.model_cache import ModelCache  # torch is imported here, when it is this sweep's turn

    cache = ModelCache()
    while waiting:
        log.check()
        run = waiting.pop(0)
        log.write(now=run.id, runs={"ended": total - len(waiting) - 1, "total": total})
        _one(sweep, run, cache)
        config = _readable(run)
        if config and queue.others_wait(queue_folder(config), access.owner()):
            cache.clear()  # the memory is the other one's
            return


def _claim(run: Run, sweep: Sweep) -> bool:
    """Make a run wait for this process; say whether there is anything to do for it."""
    status = run.status()
    # Somebody may have started one of the runs on its own meanwhile: it is left to that worker.
    if status.get("state") == "done" or (status.get("state") in store.ALIVE and status.get("pid")):
        return False
    if run.path.is_dir():
        Log(run).write(sweep=sweep.id)  # it waits for this process
    return run.path.is_dir()


def _readable(run: Run) -> RunConfig | None:
    with contextlib.suppress(UserError):
        return run.config()
    return None


def _one(sweep: Sweep, run: Run, cache: ModelCache) -> None:
    """Execute one run of a sweep; what goes wrong stays in its own status."""
    with process.uncollected():
        from core.jobs import calibrate, unlearning_series
        from core.pipeline.pipeline import execute
        from core.pipeline.setup import set_up
        from core.util.progress import forget_peak_memory

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
