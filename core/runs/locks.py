"""Who holds what: a run's locks, and locks that several runs wait for.

All are locks of the operating system (flock), which a process that dies gives back, however it died.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from core.util import access
from core.util.errors import UserError
from core.util.failure_sentences import disk_error

if TYPE_CHECKING:
    from core.runs.store import Run

LEAVING = 3.0
"""seconds for which a process that was killed may still hold its locks: it counts as gone while its memory is being freed"""

PAUSE = 0.05
"""seconds between two attempts at a lock"""


def single_worker(run: Run) -> contextlib.AbstractContextManager[None]:
    """Hold a run for one worker. Raises UserError when another one has it, or the run is gone."""
    return alone(run, ".worker.lock", LEAVING)


@contextlib.contextmanager
def alone(run: Run, name: str, wait: float = 0.0, taken: str = "") -> Iterator[None]:
    """Hold one of a run's locks, after so many seconds at most. Raises UserError when another has it, or the run is gone.

    taken: what to say when another has it, where that is no worker.
    """
    from filelock import lock_descriptor

    path = run.path / name
    gone = UserError(f"The run {run.id} is not here any more.", "Somebody else deleted it.")
    with contextlib.ExitStack() as closing:
        try:
            # A FileLock would make the folder anew where a run is being moved to the trash at this moment.
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            closing.callback(os.close, file)
            until = time.monotonic() + wait
            while True:
                mine = lock_descriptor(file, blocking=False)
                # The run may have gone while this waited: then the lock is on a file that nobody else will open.
                if not os.path.samestat(path.stat(), os.fstat(file)):
                    raise gone
                if mine:
                    break
                if time.monotonic() >= until:
                    what = taken or f"Another worker is already at the run {run.id}."
                    raise UserError(what, "Wait a moment and look again." if taken else "Wait for it, or cancel it.")
                time.sleep(PAUSE)
        except (FileNotFoundError, NotADirectoryError):
            raise gone from None
        except OSError as error:
            raise disk_error(run.path, error) from error
        yield


@contextlib.contextmanager
def beginning(job_folder: Run) -> Iterator[None]:
    """Make and hold the folder of later work while it is begun: of two who begin it at once, the second finds it queued."""
    access.changing()
    try:
        job_folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(job_folder.path, error) from error
    with alone(job_folder, ".resume.lock", LEAVING, "Somebody else is just beginning the same."):
        yield


@contextlib.contextmanager
def held(lock: str, check: Callable[[], None] | None) -> Iterator[None]:
    """Hold a lock; look every second whether somebody wants the waiting to end."""
    from filelock import FileLock, Timeout

    mine = FileLock(lock)
    while True:
        try:
            mine.acquire(timeout=1)
            break
        except Timeout:
            if check:
                check()
    try:
        yield
    finally:
        mine.release()
