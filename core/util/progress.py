"""How a stage says how far it is, and learns that it should stop. The default says nothing and never stops."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BOTH = time.time(), time.monotonic()


def now() -> float:
    """Return the date in seconds since 1970, as this process's first one and what has passed since.

    A clock that is set meanwhile changes no duration and no order.
    """
    return _BOTH[0] + time.monotonic() - _BOTH[1]


def duration(seconds: float) -> str:
    """Return a time in words, to two digits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


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


class Pace:
    """How fast a stage counts. What it counts in turn (answers, then steps) each has a clock of its own."""

    def __init__(self) -> None:
        """Start the clock."""
        self._began = self._seen = time.monotonic()
        self._unit, self._done, self._tokens = "", 0.0, 0

    def at(self, done: float, total: float, unit: str, tokens: int = 0) -> dict[str, Any]:
        """Return done, total, unit, rate (units/s), left (s at that rate; None before anything is done),
        tokens_per_second.
        """
        if unit != self._unit or done < self._done:
            self._began, self._tokens = self._seen, 0
        self._unit, self._done, self._seen = unit, done, time.monotonic()
        self._tokens += tokens
        seconds = max(1e-9, self._seen - self._began)
        rate = done / seconds
        left = round((total - done) / rate, 1) if rate else None
        pace = {"done": done, "total": total, "unit": unit, "rate": round(rate, 3), "left": left}
        return pace | {"tokens_per_second": round(self._tokens / seconds, 1)} if self._tokens else pace


def peak_memory_mb() -> int:
    """Return the process's peak resident memory in MB (macOS counts in bytes, Linux in kB)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))


def peak_gpu_mb() -> dict[str, int]:
    """Return for each GPU on which this process has memory the most that it has held there, in MB."""
    return {
        f"cuda:{n}": round(peak / 2**20)
        for gpu in _gpus()
        for n in range(gpu.device_count())
        if (peak := gpu.max_memory_reserved(n))
    }


def peaks() -> dict[str, Any]:
    """Return both peaks as they are recorded: peak_memory_mb, and where a GPU is used peak_gpu_mb."""
    gpus = peak_gpu_mb()
    return {"peak_memory_mb": peak_memory_mb(), **({"peak_gpu_mb": gpus} if gpus else {})}


def forget_peak_memory() -> None:
    """Begin the peaks anew, where the system can (Linux): a process that does several things tells them apart."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    for gpu in _gpus():
        gpu.empty_cache()
        for n in range(gpu.device_count()):
            gpu.reset_peak_memory_stats(n)


def _gpus() -> Iterator[Any]:
    """Yield torch.cuda where this process computes on a GPU; who has not imported torch does not."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        yield torch.cuda
