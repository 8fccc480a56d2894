"""Runs on a Ray cluster: each is a task of its own, which does on a node what a worker does here, in the same folder.

A manager, one detached process a run or sweep, owns the tasks. It hands them to the cluster, takes
back those that are cancelled while they wait for a node, and starts a run again elsewhere when its node was lost. Nothing is
done twice: whoever works holds the run's lock, a run that has ended is not begun again, and finished stages come from the
cache. Ray is optional and imported only where a cluster is spoken to.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from core.jobs import worker
from core.jobs.ray_cluster import CONNECTS, Resources, address, unreachable
from core.jobs.status_log import Log
from core.jobs.sweep import Sweep, members
from core.runs import locks, store
from core.runs.store import Run
from core.util import files, logs
from core.util.errors import Cancelled, UserError, plain
from core.util.paths import ROOT
from core.util.process import PROCESS

LOG = logging.getLogger("core.jobs.ray_manager")
LOSSES = 3
"""how often a run may lose its node before it counts as failed: it may be what kills them"""
EVERY = 0.3
"""Seconds between two looks at the tasks and at what is to be cancelled, and between two tries to take hold of a run."""
RELEASED = 60.0
"""Seconds that a lost node's worker is given to let go of the run, in case it lives on without its cluster."""
FIX = "See worker.log in the run, and resume it."


class Manager:
    """Owns the tasks of some runs."""

    def __init__(self, runs: Sequence[Run], sweep: Sweep | None) -> None:
        """Know what to do; nothing is handed over yet."""
        self.runs, self.sweep = runs, sweep
        self.tasks: dict[Any, Run] = {}
        self.losses = dict.fromkeys((run.id for run in runs), 0)

    def go(self, log: Log) -> None:
        """Hand all runs over and stay until they have ended. Raises UserError for a cluster that cannot do them."""
        import ray

        self._connect()
        log.begin()
        for run in self.runs:
            self._submit(run)
        while self.tasks:
            ready, _ = ray.wait(list(self.tasks), timeout=EVERY)
            for task in ready:
                self._ended(task)
            for task, run in self.tasks.items():
                if self._cancelled(run) and (run.json("status.json") or {}).get("pid") is None:
                    ray.cancel(task)  # it waits for a node, so nobody else looks at the file
            done = len(self.runs) - len(self.tasks)
            if self.sweep and ready:
                log.write(runs={"ended": done, "total": len(self.runs)})
        if self.sweep:
            log.check()

    def settle(self, error: str, fix: str) -> None:
        """End the runs that nobody works at any more."""
        for run in self.runs:
            if state(run) not in store.ENDED:
                _write(run, state="failed", error=error, fix=fix)

    def _connect(self) -> None:
        import ray

        where = address()
        # Ray itself waits for minutes, and may end the process: both are cut short here.
        late = threading.Timer(CONNECTS, self._give_up, [unreachable(where)])
        late.daemon = True
        late.start()
        try:
            ray.init(address=where, log_to_driver=False, logging_level="ERROR")
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            LOG.error("%s: %s", type(error).__name__, error)
            raise unreachable(where) from error
        finally:
            late.cancel()

    def _give_up(self, error: UserError) -> None:
        self.settle(error.what, error.fix)
        if self.sweep:
            _write(self.sweep.as_run, state="failed", error=error.what, fix=error.fix)
        os._exit(1)  # the main thread is inside Ray and cannot be interrupted

    def _submit(self, run: Run) -> None:
        import ray

        asked = self._needs(run)
        # max_calls: a process does one run and ends, which frees all memory. max_retries: `_ended` decides, not Ray.
        task = ray.remote(max_calls=1)(execute).options(
            num_cpus=asked.cpus,
            num_gpus=asked.gpus,
            max_retries=0,
            name=run.id,
            runtime_env={"env_vars": _environment()},
        )
        self.tasks[task.remote(str(run.path), str(self.sweep.path) if self.sweep else "")] = run

    def _needs(self, run: Run) -> Resources:
        """Return what a run needs. Raises UserError where no node has that much, however long one waits."""
        import ray

        asked = Resources(**(run.json("status.json") or {})["ray"])
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if asked.gpus is None:
            any_ = run.config().model.device != "cpu" and any(node.get("GPU") for node in nodes)
            asked = Resources(asked.cpus, 1.0 if any_ else 0.0)
        if not any(node.get("CPU", 0) >= asked.cpus and node.get("GPU", 0) >= (asked.gpus or 0) for node in nodes):
            sizes = "; ".join(f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in nodes)
            raise UserError(
                f"No node of the cluster has {asked.cpus:g} CPUs and {asked.gpus:g} GPUs.", f"Its nodes have {sizes}."
            )
        return asked

    def _ended(self, task: Any) -> None:
        """Take notice of a task's end; a run that has not ended with it starts again elsewhere, or has failed."""
        import ray

        run, error, lost = self.tasks.pop(task), "", False
        gone = (ray.exceptions.NodeDiedError, ray.exceptions.WorkerCrashedError, ray.exceptions.LocalRayletDiedError)
        try:
            ray.get(task)
        except gone:
            lost, error = True, f"Its node was lost {LOSSES} times."
        except ray.exceptions.OutOfMemoryError:
            error = "The node ran out of memory."
        except ray.exceptions.RayError as raised:
            error = str(raised).strip().splitlines()[-1] if str(raised).strip() else type(raised).__name__
        if state(run) in store.ENDED:
            return
        self.losses[run.id] += lost
        if self._cancelled(run):
            _write(run, state="cancelled", error="Cancelled.")
        elif lost and self.losses[run.id] < LOSSES:
            _tell(run, "The node was lost. The run goes on from its last finished stage, on another one.")
            _write(run, state="queued", pid=None, losses=self.losses[run.id])
            self._submit(run)
        else:
            _write(run, state="failed", error=error or "The node ended without a word.", fix=FIX)

    def _cancelled(self, run: Run) -> bool:
        return any((folder / "cancel").exists() for folder in (run.path, self.sweep.path if self.sweep else run.path))


def _environment() -> dict[str, str]:
    """Return what a task's process needs in its environment from its beginning. Secrets stay here: Ray logs these."""
    format_ = os.environ.get(logs.VARIABLE, "")
    return {**PROCESS, logs.VARIABLE: format_, "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(ROOT)}


def _write(run: Run, **values: Any) -> None:
    """Change the status of a run that has no worker now."""
    status = run.json("status.json")
    now = {"heartbeat": time.time(), "host": os.uname().nodename}
    files.write_json(run.path / "status.json", {**(status if isinstance(status, dict) else {}), **now, **values})


def _tell(run: Run, text: str) -> None:
    Log(run).event("finding", text=text)


def manage(kind: str, job_folder: Run) -> int:
    """Have a run, or what is not done of a sweep, done by the cluster; return the exit status.

    The manager reports in the sweep's folder, of a run in a folder of its own within it.
    """
    if kind == "run":
        return worker.reporting(job_folder.manager, partial(_go, Manager([job_folder], None)))
    sweep = Sweep(job_folder.path)
    left = [run for run in members(sweep) if state(run) not in store.ENDED]
    return worker.reporting(job_folder, partial(_go, Manager(left, sweep)))


def _go(manager: Manager, log: Log) -> None:
    try:
        manager.go(log)
    except Cancelled:
        raise
    except UserError as error:
        manager.settle(error.what, error.fix)
        raise
    except Exception as error:
        manager.settle(plain(f"The cluster failed: {type(error).__name__}: {error}"), FIX)
        raise


# -- the task, in a process of its own on a node: it knows nothing of Ray, whose reservation holds the device ---------------


def execute(path: str, within: str = "") -> None:
    """Do a run, as a task on a node. Everything it has to say stands in the run's folder."""
    run = Run(Path(path))
    if not (run.path / "config.json").is_file():
        raise UserError(f"The node {os.uname().nodename} does not see {run.path}.", "Put the runs into a shared folder.")
    with _logged(run), _own_queue():
        logs.start()
        _wait_for_release(run)
        if state(run) not in store.ENDED:
            worker.work("run", run, Run(Path(within)) if within else None)


@contextlib.contextmanager
def _logged(run: Run) -> Iterator[None]:
    """Send what the process prints, in whatever language it is written, to the run's worker.log."""
    kept = [os.dup(number) for number in (1, 2)]
    with (run.path / "worker.log").open("ab") as file:
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            yield
        finally:
            for number, old in zip((1, 2), kept, strict=True):
                os.dup2(old, number)
                os.close(old)


@contextlib.contextmanager
def _own_queue() -> Iterator[None]:
    """Use a queue of tickets of this task's own: the cluster has reserved its device, so it waits for nobody here."""
    folder = tempfile.mkdtemp(prefix="forgetscope-queue-")
    os.environ["FORGETSCOPE_QUEUE"] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_release(run: Run) -> None:
    end = time.monotonic() + RELEASED
    while time.monotonic() < end:
        with contextlib.suppress(UserError), locks.single_worker(run):
            return
        time.sleep(EVERY)


def state(run: Run) -> str:
    """Return the state as it was written; store's reading would call a run failed whose worker has just been lost."""
    status = run.json("status.json")
    return str(status.get("state")) if isinstance(status, dict) else ""
