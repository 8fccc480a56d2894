"""What a machine does to a process -> the sentence that a person reads: no room, no right to write, no memory."""

from __future__ import annotations

import errno
import os
import re
import resource
from pathlib import Path

from core.errors import UserError
from core.progress import peak_memory_mb

DISK = {
    errno.ENOSPC: "Free space or choose another --runs folder.",
    errno.EDQUOT: "Free some of the quota or choose another --runs folder.",
    errno.EROFS: "Make it writable, or choose another --runs folder.",
    errno.EACCES: "Make it writable, or choose another --runs folder.",
    errno.EPERM: "Make it writable, or choose another --runs folder.",
}
"""why a file cannot be written -> what to do"""

NO_MEMORY = re.compile(r"can't allocate memory|cannot allocate memory|out of memory|bad_alloc", re.IGNORECASE)
"""how libraries that raise no MemoryError say it"""


def disk_error(path: Path, error: Exception) -> UserError:
    """Say in one sentence why a file could not be written."""
    number = number_of(error)
    if number == errno.ENOMEM:
        return memory_error()
    why = os.strerror(number) if number else str(error)
    return UserError(f"{path} cannot be written ({why}).", DISK.get(number, DISK[errno.ENOSPC]))


def number_of(error: BaseException) -> int:
    """Return the system's number of an error, 0 where it has none; libraries that are not Python's put it into their words."""
    said = re.search(r"\b(?:os error|errno) (\d+)\b", str(error))
    return int(getattr(error, "errno", None) or (said[1] if said else 0))


def memory_error() -> UserError:
    """Say that memory ran out, how much there was, and what to do."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    of = "" if limit == resource.RLIM_INFINITY else f" of the {limit / 2**20:.0f} MB that it may address (ulimit -v)"
    return UserError(
        f"The machine ran out of memory: the process had taken {peak_memory_mb()} MB{of}.",
        "Choose a smaller model or batch size, or close other programs.",
    )


def explained(error: BaseException, folder: Path) -> UserError | None:
    """Return the sentence for an error that the machine caused, None for any other. folder: where the process writes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or number_of(cause) == errno.ENOMEM or NO_MEMORY.search(str(cause)):
            return memory_error()
        if isinstance(cause, Exception) and number_of(cause) in DISK:
            return disk_error(Path(getattr(cause, "filename", None) or folder), cause)
        cause = cause.__cause__
    return None
