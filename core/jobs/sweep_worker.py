"""How a worker executes a sweep: its runs share one ticket, one turn of the device and one loaded model
(core/jobs/sweep_runs.py does them).

Each run keeps its own status, and one that fails is no reason for the others to stop. No heavy import: it waits first.
"""

from __future__ import annotations

import contextlib

from core.config.run_config import RunConfig
from core.jobs import controls, sweep_estimate
from core.jobs.status_log import Log
from core.jobs.sweep import Sweep, members
from core.jobs.worker import turn
from core.runs import store
from core.runs.store import Run
from core.util import process
from core.util.errors import Cancelled, UserError


def work(job_folder: Run, log: Log) -> None:
    """Wait for the device, then execute all runs of a sweep that are not done, on one loaded model; wait anew where
    others wait.

    Raises Cancelled when the sweep is cancelled.
    """
    sweep = Sweep(job_folder.path)
    waiting = [run for run in members(sweep) if _claim(run, sweep)]
    if sweep.kind != "requests":  # of these each goes on from the one before
        # What killed a worker may do so again: it comes when the others have ended.
        waiting.sort(key=lambda run: int(run.status().get("died") or 0))
    try:
        configs, total = [config for run in waiting if (config := readable(run))], len(waiting)
        while True:
            with turn(configs[0], log) if configs else contextlib.nullcontext():
                left = [config for run in waiting if (config := readable(run))]
                log.begin(sweep_estimate.expected(left, sweep.folder, sweep.seconds))
                process.resolved("core.jobs.sweep_runs:until_others_wait")(sweep, log, waiting, total)
            if not waiting:
                break
            log.write(state="queued", now="")
        log.check()
        if sweep.kind == "controls":
            controls.keep(sweep)
    except Cancelled:
        for run in waiting:
            Log(run).write(state="cancelled", error="The sweep was cancelled before this run began.")
        raise
    finally:
        log.write(now="")


def _claim(run: Run, sweep: Sweep) -> bool:
    """Make a run wait for this process; say whether there is anything to do for it."""
    status = run.status()
    # Somebody may have started one of the runs on its own meanwhile: it is left to that worker.
    if status.get("state") == "done" or (status.get("state") in store.ALIVE and status.get("pid")):
        return False
    if run.path.is_dir():
        Log(run).write(sweep=sweep.id)  # it waits for this process
    return run.path.is_dir()


def readable(run: Run) -> RunConfig | None:
    """Return a run's configuration, None where it cannot be read."""
    with contextlib.suppress(UserError):
        return run.config()
    return None
