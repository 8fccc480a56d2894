"""Whether the process that a status speaks of still lives, and what one that does not had said last. No heavy import."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from core.util.errors import plain
from core.util.safe_read import moment, number

GONE = "The worker is gone"
"""how the error of a run begins whose process ended without a word"""
HEARTBEAT = 2.0
"""Seconds between two heartbeats of a worker."""
COMING_UP = 120.0
"""Seconds that a worker may take until it reports for the first time: a busy machine starts Python slowly."""
RECORD = re.compile(r"\d{4}-\d\d-\d\d \S+Z (?P<level>[A-Z]+) +(?P<message>.*)")
"""a line that core/util/logs.py writes for a person"""
LOG_BYTES = 8192
"""How much of worker.log is read, from its end."""
EPOCH = 1e9
"""A start beyond this is a date (as it was recorded earlier, and is outside of Linux), one below counts from the boot."""


def identity() -> dict[str, Any]:
    """Return what a status says of this process: {"pid", "started_process", "host"}."""
    started = _started(psutil.Process(), from_boot=sys.platform == "linux")
    return {"pid": os.getpid(), "started_process": started, "host": os.uname().nodename}


def _started(process: psutil.Process, from_boot: bool) -> float:
    """Return when a process began, in seconds. From the boot: a clock that is set moves the date of it, but not this."""
    return float(process.create_time() - (psutil.boot_time() if from_boot else 0.0))


def readable(status: Any) -> bool:
    """Say whether a value is a status, as far as others rely on it: a state, and numbers and objects where they are
    expected.
    """
    if not isinstance(status, dict) or not isinstance(status.get("state"), str):
        return False
    times = [status.get(name) for name in ("heartbeat", "created", "began", "ended")]
    numbers = [status.get(name) for name in ("started_process", "pid")]
    stages = status.get("stages") or {}
    return (
        all(field is None or moment(field) is not None for field in times)
        and all(field is None or number(field) is not None for field in numbers)
        and isinstance(stages, dict)
        and all(isinstance(field, dict) for field in stages.values())
    )


def alive(status: Mapping[str, Any]) -> bool:
    """Say whether the process that wrote a status still runs (on this machine; elsewhere the heartbeat decides)."""
    quiet = time.time() - float(status.get("heartbeat") or 0)
    if status.get("host") != os.uname().nodename:
        return quiet < 30 * HEARTBEAT
    pid = status.get("pid")
    if pid is None:  # created, and its worker is still on its way up; a date that is yet to come is a clock set back
        return abs(quiet) < COMING_UP
    return lives(int(pid), float(status.get("started_process") or 0))


def lives(pid: int, started: float = 0.0) -> bool:
    """Say whether a process lives; one that has ended, and that its parent has not noticed yet, does not.

    started: when it began, as `identity` says: another one that got its number since is not taken for it.
    """
    try:
        process, from_boot = psutil.Process(pid), started < EPOCH
        # The date of the boot is a whole second, which may fall either way; ticks since then are exact.
        same = not started or abs(_started(process, from_boot) - started) < (0.1 if from_boot else 2)
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, OverflowError, ValueError):  # a number that no process can have
        return False


def log_tail(folder: Path, count: int = 20) -> list[str]:
    """Return the last lines of worker.log, empty where there is none; a progress bar's overwritten states are left out."""
    try:
        with (folder / "worker.log").open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LOG_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    lines = [line.rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return [line for line in lines if line][-count:]


def obituary(folder: Path, stage: str) -> dict[str, str]:
    """Return the error of a run whose worker is gone, and what to do: where it was, and the last that its log says."""
    error = f"{GONE} (in stage {stage or 'queue'})."
    if complaint := _complaint(folder):
        error += f" Its log ends with: {complaint}"
    fix = "Resume it: finished stages are kept."
    if not os.access(folder, os.W_OK):
        error, fix = f"{error} Its folder cannot be written.", f"Make it writable. {fix}"
    return {"error": error, "fix": fix}


def _complaint(folder: Path) -> str:
    """Return what the last line of a log complains of, empty where it tells of ordinary work."""
    last = "".join(log_tail(folder, 1))
    try:
        record = json.loads(last)
    except ValueError:
        record = match.groupdict() if (match := RECORD.fullmatch(last)) else {"message": last}
    if not isinstance(record, dict) or record.get("level") in ("DEBUG", "INFO", "WARNING"):
        return ""
    message = str(record.get("traceback") or record.get("message") or "").strip().rpartition("\n")[2]
    # A record for a person begins with the run and its stage, which are told already.
    return plain(re.sub(rf"^{re.escape(folder.name)}[^:]*: ", "", message), 240)
