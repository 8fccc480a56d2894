"""What a run on a Ray cluster is on its node: a task in a process of its own, which does what a worker does here.

core/jobs/ray_manager.py hands it to the cluster. Knows nothing of Ray: whoever calls `execute` has reserved the device.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from core.jobs import worker
from core.runs import locks, store
from core.runs.store import Run
from core.util import logs
from core.util.errors import UserError

RELEASED = 60.0
"""Seconds that a lost node's worker is given to let go of the run, in case it lives on without its cluster."""
EVERY = 0.3
"""Seconds between two tries to take hold of it."""


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
    value = run.json("status.json")
    return str(value.get("state")) if isinstance(value, dict) else ""
