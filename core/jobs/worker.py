"""How a process does a job: it takes a ticket, waits for the device, and only then imports torch and the work itself.

It reports through status.json (replaced) and events.jsonl (appended), and looks for the file `cancel` at every step. Which
function does the work of which kind of job stands in core.runs.layout.KINDS.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from core.config.run_config import RunConfig
from core.jobs import queue, sweep_estimate
from core.jobs.status_log import LOG, Log
from core.models.device import guessed_device
from core.runs import locks
from core.runs.layout import KINDS
from core.runs.store import Run
from core.util import failure_sentences, process
from core.util.errors import Cancelled, UserError, plain
from core.util.progress import now


def queue_folder(config: RunConfig) -> Path:
    """Return the folder of tickets for the device that a run will use: one worker at a time for each device."""
    return queue.base() / guessed_device(config.model.device)


@contextlib.contextmanager
def turn(config: RunConfig, log: Log) -> Iterator[None]:
    """Wait until all earlier tickets are gone and the device is free; report the position meanwhile."""
    from filelock import FileLock, Timeout

    folder = queue_folder(config)
    try:
        ticket = queue.take(folder, log.run)
    except OSError as error:
        raise failure_sentences.disk_error(folder, error) from error
    # The tickets say whose turn it is, the lock that the device is free: a worker that leaves gives up its ticket first.
    lock = FileLock(folder / "device.lock", timeout=0)
    try:
        while True:
            log.check()
            ahead = queue.ahead(folder, ticket)
            if ahead == 0:
                try:
                    lock.acquire()
                    queue.begin(folder, ticket)
                    break
                except Timeout:
                    pass  # whoever was before has removed its ticket and is about to go
                except OSError as error:
                    raise failure_sentences.disk_error(folder, error) from error
            if log.status.get("position") != ahead + 1:
                log.write(position=ahead + 1)
            time.sleep(0.2)
        log.write(position=0)
        yield
    finally:
        ticket.unlink(missing_ok=True)
        lock.release()


def work(kind: str, job_folder: Run, within: Run | None = None) -> int:
    """Do the job of a folder, as its kind says; return the exit status of the process. within: a sweep, as for Log."""
    job = KINDS[kind]

    def act(log: Log) -> None:
        if job.takes_turns:
            process.resolved(job.work)(job_folder, log)
            return
        with turn(job_folder.config(), log):
            # Those who wait for it are told how long.
            log.begin(sweep_estimate.expected([job_folder.config()], job_folder.path.parent) if kind == "run" else None)
            process.resolved(job.work)(job_folder, log)  # torch is imported here, when it is this job's turn

    return reporting(job_folder, act, within)


def reporting(job_folder: Run, action: Callable[[Log], None], within: Run | None = None) -> int:
    """Do something as the only worker of a folder, which gets the status and the events; return the exit status.

    within: a sweep whose cancelling is also this job's.
    """
    try:
        with locks.single_worker(job_folder):
            # Only now: a second worker must not replace the status of the first.
            log = Log(job_folder, within)
            with log.beating():
                return reported(log, action)
    except UserError as error:
        LOG.error("%s", error)
        return 1


def reported(log: Log, action: Callable[[Log], None]) -> int:
    """Do something whose end, whatever it is, goes into a status; return the exit status."""
    try:
        action(log)
        # Before the state, at which whoever follows stops reading.
        with contextlib.suppress(UserError):
            log.event("end", state="done")
        log.write(state="done", ended=now())
    except Cancelled:
        kept = (log.run.path / "after").exists()
        words = "Cancelled; the partial result is kept." if kept else "Cancelled."
        return _ended(log, "cancelled", words if "began" in log.status else "Cancelled before it began.")
    except UserError as error:
        return _ended(log, "failed", error.what, error.fix)
    except Exception as error:
        if explanation := failure_sentences.explained(error, log.run.path):
            return _ended(log, "failed", explanation.what, explanation.fix)
        LOG.exception("unexpected error")
        what = plain(f"Stopped by an unexpected error: {type(error).__name__}: {error}")
        folder = log.run.path  # of probes and references a folder beside the runs
        return _ended(log, "failed", what, f"See {folder.parent.name}/{folder.name}/worker.log.")
    LOG.info("done")
    return 0


def _ended(log: Log, state: str, what: str, fix: str = "") -> int:
    """Say how it ended; where nothing can be written, worker.log is still open, and readers look into it."""
    log.give_room()
    with contextlib.suppress(UserError):
        log.event("end", state=state, error=what, fix=fix)
    with contextlib.suppress(UserError):
        log.write(state=state, error=what, fix=fix)
    cancelled = state == "cancelled"
    LOG.log(logging.INFO if cancelled else logging.ERROR, "%s %s", what, fix)
    return 130 if cancelled else 1
