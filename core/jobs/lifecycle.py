"""Start, follow, cancel and resume jobs (core.runs.layout.KINDS); each is done by a process in a session of its own.

No heavy import: the dashboard's server and the command line use this, and neither ever loads torch.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from core.config.run_config import RunConfig
from core.jobs import launch, queue_limits, ray_cluster
from core.jobs.ray_cluster import Resources
from core.jobs.sweep import Sweep, members, needed_by
from core.jobs.under_way import ON_RAY
from core.plan import admission
from core.runs import locks, store
from core.runs.store import Run
from core.util import access, failure_sentences, files, forkserver, logs
from core.util.errors import UserError
from core.util.process import environment

LOG = logging.getLogger(__name__)
WANTED = "wanted.json"
"""file of a job's folder beside the runs: what is to be done"""


def submit(config: RunConfig, folder: Path, ray: Resources | None = None) -> Run:
    """Create a run and start its worker. ray: on the Ray cluster, with these resources.

    Raises UserError for what would end the run before it has done anything, where there is no cluster, and where the owner
    has enough in the queue. Nothing is left of a run that is refused.
    """
    access.changing()
    queue_limits.starting(folder)
    admission.check(config, folder, here=ray is None)
    if ray:  # before the run is made: without a cluster it would wait for nobody
        ray_cluster.check()
    run = store.create(config, folder)
    start("run", run, ray)
    return run


def start(kind: str, job_folder: Run, ray: Resources | None = None) -> forkserver.Process:
    """Start the process that does a job (one of KINDS) in its folder; return the process. It outlives whoever started it.

    ray: runs and sweeps may be handed to the Ray cluster, each run with these resources; the process then manages them.
    """
    access.changing()
    if kind == "run":  # a sweep that was cancelled before its worker came stays so, and the folders of other jobs are fresh
        try:
            (job_folder.path / "cancel").unlink(missing_ok=True)
        except OSError as error:
            raise failure_sentences.disk_error(job_folder.path / "cancel", error) from error
    if ray is not None:
        _hand_over(kind, job_folder, ray)
        return start_process(job_folder, "core.jobs", kind, str(job_folder.path), ON_RAY)
    if kind == "run" and (processes := launch.wanted(job_folder)) > 1:
        options = launch.options(processes)
        return start_process(
            job_folder, "accelerate.commands.launch", *options, "-m", "core.jobs", kind, str(job_folder.path)
        )
    return start_process(job_folder, "core.jobs", kind, str(job_folder.path))


def _hand_over(kind: str, job_folder: Run, ray: Resources) -> None:
    """Mark a run, or the runs of a sweep, as taken care of by a manager. Raises UserError where no cluster can do them."""
    if kind == "run":
        ray_cluster.check()
        ray_cluster.prepare(job_folder.manager, [job_folder], ray)
        return
    sweep = Sweep(job_folder.path)
    ray_cluster.check_sweep(sweep)
    waiting = [run for run in members(sweep) if run.status().get("state") not in store.ENDED]
    ray_cluster.prepare(job_folder, waiting, ray, sweep.id)


def begin(kind: str, job_folder: Run, config: RunConfig, wanted: Mapping[str, Any], *results: str) -> bool:
    """Start a job in a folder beside the runs, unless one is under way there: then return False.

    wanted: what is to be done, plain values that the process reads from WANTED. results: files that an earlier job may have
    left there. Raises UserError where nothing may be started or written, and for a model that is not there.
    """
    access.changing()
    admission.check_model(config.model)
    with locks.beginning(job_folder):
        if job_folder.status().get("state") in store.ALIVE:
            return False
        queue_limits.starting(job_folder.path.parent.parent)
        # The status comes last: with it the job counts as queued, and all else that its process reads must be there.
        store.prepare(job_folder, config, *results)
        files.write_json(job_folder.path / WANTED, dict(wanted))
        files.write_json(job_folder.path / "status.json", store.fresh_status())
        start(kind, job_folder)
    return True


def start_process(job_folder: Run, module: str, *arguments: str) -> forkserver.Process:
    """Start `python -m MODULE ARGUMENTS` in a session of its own, with its output in the worker.log of a job's folder."""
    access.changing()
    try:
        process = forkserver.start(forkserver.Command(module, arguments, job_folder.path / "worker.log", environment()))
    except OSError as error:
        raise failure_sentences.disk_error(job_folder.path, error) from error
    _children.append(process)
    with logs.about(job_folder.id):
        LOG.info("started")
    return process


_children: list[forkserver.Process] = []


def resume(run: Run) -> forkserver.Process:
    """Start a run that was cancelled, failed or killed again: finished stages come from the cache."""
    access.changing()
    if run.bundled:
        raise UserError("The bundled run cannot be changed.", "Start a new one with its settings.")
    queue_limits.starting(run.path.parent)
    with locks.alone(run, ".resume.lock"):  # of two who resume it at once, the second finds it queued
        state = run.status()["state"]
        if state in store.ALIVE:
            raise UserError(f"The run {run.id} is {state}.", "Wait for it, or cancel it first.")
        if whole := needed_by(run):
            command = "requests" if whole.kind == "requests" else "sweep"
            raise UserError(
                f"The run {run.id} is a step of the sweep {whole.id}, whose worker also does what comes between its runs.",
                f"Resume the whole: `python -m core {command} --resume {whole.id}`.",
            )
        ray = ray_cluster.again(run)
        admission.check(run.config(), run.path.parent, here=ray is None)
        if ray:
            ray_cluster.check()
        # Still within the lock: by this status the second one sees that the run is queued.
        files.write_json(run.path / "status.json", store.fresh_status())
    return start("run", run, ray)


def reap() -> None:
    """Take notice of finished workers, so that none stays a zombie."""
    _children[:] = [child for child in _children if child.poll() is None]


def follow(
    run: Run, every: float = 0.1, look: Callable[[dict[str, Any]], None] = lambda status: None
) -> Iterator[dict[str, Any]]:
    """Yield a job's events from the beginning until it has ended. look: called with its status, time and again."""
    line = 0
    while True:
        reap()
        # The state is read first: what is written between the two looks is then never missed.
        status = run.status()
        look(status)
        new, line = run.events_after(line)
        yield from new
        if status["state"] in store.ENDED or status["state"] == "unreadable":
            yield from run.events_after(line)[0]
            return
        time.sleep(every)


def kill(run: Run) -> None:
    """End a worker at once (Ctrl-C twice): its partial files stay, and it can be resumed."""
    access.changing()
    status = run.status()
    # A cluster ends the tasks of a manager that is gone; the worker itself may be on another machine.
    process = run.managing(status) or status
    # Only here: on another machine the same number is another process.
    if status["state"] in store.ALIVE and process.get("pid") and process.get("host") == os.uname().nodename:
        try:
            psutil.Process(int(process["pid"])).kill()
        except psutil.NoSuchProcess:
            return
