"""Starting the processes of one run with accelerate, and what those do that are not the main process. See
core/models/distributed.py.

No heavy import before it is the run's turn: a process that waits costs almost nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from core.config.run_config import RunConfig
from core.jobs.status_log import Log
from core.models.device import pick_device
from core.models.distributed import meeting, rank, size
from core.runs.store import Run
from core.util import process
from core.util.errors import Cancelled, UserError
from core.util.progress import Reporter

if TYPE_CHECKING:
    from core.models.distributed import Group

LOG = logging.getLogger("core.jobs.launch")
EVERY = 0.1
"""Seconds between two looks whether it is the run's turn."""


def wanted(run: Run) -> int:
    """Return how many processes a run asks for; 1 where its configuration cannot be read, which its worker will say."""
    with contextlib.suppress(UserError):
        config = run.config()
        return 1 if config.audit.after else config.processes
    return 1


def options(processes: int, threads: int = 0) -> list[str]:
    """Return what accelerate's launcher is to be told. threads: of each process; 0 shares the cores out."""
    even = max(1, (psutil.cpu_count(logical=False) or 1) // processes)
    return [
        # The only kind of launch that starts several processes on this machine without MPI; it needs no GPU.
        "--multi_gpu",
        "--num_processes",
        str(processes),
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        "0",
        "--num_cpu_threads_per_process",
        str(threads or os.environ.get("OMP_NUM_THREADS") or even),
    ]


@contextlib.contextmanager
def group(config: RunConfig, report: Reporter) -> Iterator[Group]:
    """Within this context the processes of a run are one group. Raises UserError where there are not enough GPUs."""
    if size() != config.processes:
        report.event("finding", text=f"Processes that do this run: {size()}, where {config.processes} were asked for.")
    if size() == 1:
        with meeting(1, cpu=True) as team:
            yield team
        return
    on_gpu = pick_device(config.model.device) == "cuda"
    if on_gpu and rank() == 0:  # the others are ended with the main process
        import torch

        if (gpus := torch.cuda.device_count()) < size():
            raise UserError(f"There are {gpus} GPUs for {size()} processes.", "Ask for as many processes as GPUs.")
    if rank() == 0:
        signal.signal(signal.SIGTERM, _bereft)
    with meeting(size(), cpu=not on_gpu) as team:
        yield team


def _bereft(*_: object) -> None:
    """End the main process with a sentence: its launcher stops it when another process has died."""
    raise UserError("A process of this run died.", "It may have run out of memory: see worker.log, and resume the run.")


class Member(Reporter):
    """What a process reports that is not the main process: nothing. It learns from the others that it should stop."""

    def __init__(self, team: Group) -> None:
        """Listen to a group."""
        self.team = team

    def check(self) -> None:
        """Raise what ended another process."""
        self.team.check()


def work(run: Run, log: Log) -> None:
    """Do a run to its end, alone or as the main one of its processes."""
    config = run.config()
    if config.audit.after:
        process.resolved("core.jobs.job_functions:audit")(run, config, log)
        return
    with group(config, log) as team:
        log.group = team
        process.resolved("core.jobs.job_functions:whole")(run, config, run.path.parent, log, team)


def assist(run: Run) -> int:
    """Do a run's work beside its main process; return the exit status. All files go into a folder that is gone afterwards.

    It lies in the cache as a stage does that is being made: what was killed is found and cleaned like one.
    """
    from filelock import FileLock

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the folder goes in that case too
    if not _called(run):
        return 0
    try:
        config = run.config()
        if config.audit.after:  # nothing in it is shared
            return 0
        folder = run.path.parent / ".cache" / "group" / f"{run.id}-{rank()}.partial"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")), _emptied(folder), group(config, Reporter()) as team:
            mine = Run(folder / run.id)
            mine.path.mkdir()
            process.resolved("core.jobs.job_functions:whole")(mine, config, run.path.parent, Member(team), team)
    except Cancelled:
        return 130
    except UserError:
        return 1  # the main process says it
    except Exception:
        LOG.exception("unexpected error")
        return 1
    return 0


@contextlib.contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """Within this context a folder is there, empty at first; afterwards it is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _called(run: Run) -> bool:
    """Wait until the main process, which has the same launcher, is at work; say whether it ever was."""
    launcher = os.getppid()
    while os.getppid() == launcher:
        status = run.json("status.json")
        if isinstance(status, dict) and status.get("state") == "running":
            with contextlib.suppress(psutil.NoSuchProcess, TypeError, ValueError):
                # Also whose child it is: a status that an earlier start left behind may say "running" too.
                if psutil.Process(int(status["pid"])).ppid() == launcher:
                    return True
        time.sleep(EVERY)
    return False
