"""What a machine does to a process -> the sentence that a person reads: no room, no right to write, no memory, no
network.
"""

from __future__ import annotations

import errno
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path

from core.util.errors import UserError
from core.util.masking import masked
from core.util.progress import peak_memory_mb

DISK = {
    errno.ENOSPC: "Free space or choose another --runs folder.",
    errno.EDQUOT: "Free some of the quota or choose another --runs folder.",
    errno.EROFS: "Make it writable, or choose another --runs folder.",
    errno.EACCES: "Make it writable, or choose another --runs folder.",
    errno.EPERM: "Make it writable, or choose another --runs folder.",
}
"""why a file cannot be written -> what to do"""

NO_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|bad_alloc|failed to map segment", re.IGNORECASE
)
"""how libraries that raise no MemoryError say it"""


def disk_error(path: Path, error: Exception) -> UserError:
    """Say in one sentence why a file could not be written."""
    number = number_of(error)
    if number == errno.ENOMEM:
        return memory_error()
    why = os.strerror(number) if number else str(error)
    return UserError(f"{path} cannot be written ({why}).", DISK.get(number, DISK[errno.ENOSPC]))


def number_of(error: BaseException) -> int:
    """Return the system's number of an error, 0 where it has none; libraries that are not Python's put it into their
    words.
    """
    match = re.search(r"\b(?:os error|errno) (\d+)\b", str(error))
    return int(getattr(error, "errno", None) or (match[1] if match else 0))


def memory_error(of_gpu: bool = False) -> UserError:
    """Say that memory ran out, how much there was, and what to do."""
    fix = "Choose a smaller model or batch size, or close other programs."
    if of_gpu:
        return UserError("The GPU ran out of memory.", fix)
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    limit_words = (
        "" if limit == resource.RLIM_INFINITY else f" of the {limit / 2**20:.0f} MB that it may address (ulimit -v)"
    )
    return UserError(f"The machine ran out of memory: the process had taken {peak_memory_mb()} MB{limit_words}.", fix)


def explained(error: BaseException, folder: Path) -> UserError | None:
    """Return the sentence for an error that the machine caused, None for any other. folder: where the process writes."""
    for cause in _causes(error):
        if _of_memory(cause):
            return memory_error("CUDA" in str(cause))
        if isinstance(cause, Exception) and number_of(cause) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return disk_error(Path(getattr(cause, "filename", None) or folder), cause)
    return None


def ran_out_of_memory(error: BaseException) -> bool:
    """Say whether an error came because there was no more memory, of the machine or of a GPU."""
    return any(map(_of_memory, _causes(error)))


def _of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or number_of(error) == errno.ENOMEM or bool(NO_MEMORY.search(str(error)))


def network_error(name: str, error: Exception) -> UserError | None:
    """Return the sentence for a model that could not be fetched, None where the network is not why."""
    for cause in _causes(error):
        # httpx's, whose package has another name in every other version of the hub's client.
        if any(kind.__name__ == "TransportError" for kind in type(cause).__mro__):
            return UserError(
                f"The network was lost while the model “{name}” was fetched: {masked(str(cause))[:300].rstrip('.')}.",
                "Start it again when the network is back, or give a local folder.",
            )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from, innermost last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
