"""How a stage says how far it is, and learns that it should stop. The default says nothing and never stops."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from pathlib import Path
from typing import Any

_BOTH = time.time(), time.monotonic()


def now() -> float:
    """Return the date in seconds since 1970, as this process's first one and what has passed since.

    A clock that is set meanwhile changes no duration and no order.
    """
    return _BOTH[0] + time.monotonic() - _BOTH[1]


class Reporter:
    """Passed to every stage; the worker's own subclass writes events and raises Cancelled."""

    def progress(self, done: float, total: float, unit: str, **values: Any) -> None:
        """Say that `done` of `total` units are finished, with whatever was measured. Called once a step."""

    def stage(self, name: str, state: str, **values: Any) -> None:
        """Say that a stage is running, done or reused."""

    def event(self, kind: str, **values: Any) -> None:
        """Record something that is not progress: a finding, a checkpoint, a log line."""

    def check(self) -> None:
        """Raise Cancelled if the user asked to stop. Called at least once a step."""


def peak_memory_mb() -> int:
    """Return the process's peak resident memory in MB (macOS counts in bytes, Linux in kB)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))


def forget_peak_memory() -> None:
    """Begin the peak anew, where the system can (Linux): a process that does several things tells them apart."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
