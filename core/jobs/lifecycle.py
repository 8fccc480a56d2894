"""Start, follow, cancel, resume and re-attach to runs; each runs in a worker process of its own session.

No heavy import: the dashboard's server and the command line use this, and neither ever loads torch.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.jobs import launch, limits, ray_cluster, ray_manager
from core.jobs.ray_cluster import Resources
from core.jobs.sweep import Sweep, members, needed_by
from core.runs import locks, store
from core.runs.store import Run
from core.util import access, failures, files, forkserver, logs
from core.util.errors import UserError
from core.util.process import environment

LOG = logging.getLogger(__name__)


def submit(config: RunConfig, folder: Path, ray: Resources | None = None) -> Run:
    """Create a run and start its worker. ray: on the Ray cluster, with these resources.

    Raises UserError where there is no cluster, and where the owner has enough in the queue.
    """
    access.changing()
    limits.starting(folder)
    if ray:
        ray_cluster.check()
    run = store.create(config, folder)
    start(run, ray)
    return run


def start(run: Run, ray: Resources | None = None) -> forkserver.Process:
    """Start the worker of a run, or its manager on the Ray cluster; return the process. It outlives whoever started
    it.
    """
    access.changing()
    try:
        (run.path / "cancel").unlink(missing_ok=True)
    except OSError as error:
        raise failures.disk_error(run.path / "cancel", error) from error
    if ray is None:
        if (processes := launch.wanted(run)) > 1:
            arguments = [*launch.options(processes), "-m", "core.jobs.worker", str(run.path)]
            return _launch(run.path, *arguments, module="accelerate.commands.launch")
        return _launch(run.path, str(run.path))
    ray_cluster.check()
    ray_cluster.prepare(run.manager, [run], ray)
    return _launch(run.path, str(run.path), module=ray_manager.__name__)


def start_sweep(sweep: Sweep, ray: Resources | None = None) -> forkserver.Process:
    """Start the worker that executes all runs of a sweep which are not done, or its manager; return the process."""
    if ray is None:
        return _launch(sweep.path, "--sweep", str(sweep.path))
    access.changing()
    ray_cluster.check_sweep(sweep)
    waiting = [run for run in members(sweep) if run.status().get("state") not in store.ENDED]
    ray_cluster.prepare(sweep.place, waiting, ray, sweep.id)
    return _launch(sweep.path, "--sweep", str(sweep.path), module=ray_manager.__name__)


def start_reference(run: Run, place: Run) -> forkserver.Process:
    """Start the worker that makes a run's reference and reports at a place of its own; return the process."""
    return _launch(place.path, "--reference", str(run.path))


def start_probes(place: Run) -> forkserver.Process:
    """Start the worker that makes the probes asked for at a place, where it also reports; return the process."""
    return _launch(place.path, "--probes", str(place.path))


def start_plan(place: Run) -> forkserver.Process:
    """Start the process that measures what a run would cost, at a place of its own; return the process."""
    return _launch(place.path, str(place.path), module="core.jobs.estimate")


def _launch(place: Path, *arguments: str, module: str = "core.jobs.worker") -> forkserver.Process:
    access.changing()
    try:
        process = forkserver.start(forkserver.Command(module, arguments, place / "worker.log", environment()))
    except OSError as error:
        raise failures.disk_error(place, error) from error
    _children.append(process)
    with logs.about(place.name):
        LOG.info("started")
    return process


_children: list[forkserver.Process] = []


def resume(run: Run) -> forkserver.Process:
    """Start a run that was cancelled, failed or killed again: finished stages come from the cache."""
    access.changing()
    if run.bundled:
        raise UserError("The bundled run cannot be changed.", "Start a new one with its settings.")
    limits.starting(run.path.parent)
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
        if ray:
            ray_cluster.check()
        files.write_json(run.path / "status.json", store.fresh_status())
    return start(run, ray)


def reap() -> None:
    """Take notice of finished workers, so that none stays a zombie."""
    _children[:] = [child for child in _children if child.poll() is None]


def follow(run: Run, every: float = 0.1) -> Iterator[dict[str, Any]]:
    """Yield a run's events from the beginning until it has ended."""
    line = 0
    while True:
        reap()
        # The state is read first: what is written between the two looks is then never missed.
        state = run.status()["state"]
        new, line = run.events_after(line)
        yield from new
        if state in store.ENDED or state == "unreadable":
            yield from run.events_after(line)[0]
            return
        time.sleep(every)


def kill(run: Run) -> None:
    """End a worker at once (Ctrl-C twice): its partial files stay, and it can be resumed."""
    access.changing()
    import psutil

    status = run.status()
    # A cluster ends the tasks of a manager that is gone; the worker itself may be on another machine.
    process = run.managing(status) or status
    if status["state"] in store.ALIVE and process.get("pid") and process.get("host") == os.uname().nodename:
        try:
            psutil.Process(int(process["pid"])).kill()
        except psutil.NoSuchProcess:
            return
