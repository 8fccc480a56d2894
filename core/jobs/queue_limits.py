"""How much one person may queue and all runs together may lie on the disk; asked before anything is created."""

from __future__ import annotations

import math
import os
from pathlib import Path

from core.jobs import under_way
from core.runs import disk_use
from core.util import access
from core.util.errors import UserError

QUEUE_LENGTH = "FORGETSCOPE_QUEUE_LENGTH"
"""environment variable: how many runs and sweeps of one person may be queued or at work at a time"""
LENGTH = 10
"""without the variable: a morning's worth of runs of the bundled model"""
DISK_QUOTA = "FORGETSCOPE_DISK_QUOTA"
"""environment variable: how many gigabytes (10⁹ bytes) the folder of runs may take; none without it"""
WARN = 0.8
"""share of the quota from which on people are warned"""


def queue_length() -> int:
    """Return the limit for each person. Raises UserError for anything but a number from 1 on."""
    text = os.environ.get(QUEUE_LENGTH) or str(LENGTH)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**6):
        raise UserError(f"{QUEUE_LENGTH} is “{text}”, which is no number of runs.", "Give a whole number from 1 on.")
    return int(text)


def quota() -> float | None:
    """Return how many bytes the folder of runs may take, None where it may take all. Raises UserError for no such number."""
    text = os.environ.get(DISK_QUOTA)
    if not text:
        return None
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < 1e6:
        raise UserError(
            f"{DISK_QUOTA} is “{text}”, which is no number of gigabytes.", "Give a number above 0, as 50 or 2.5."
        )
    return gigabytes * 1e9


def disk_warning(folder: Path) -> str:
    """Return a sentence where the quota is nearly used up or exceeded, else an empty text. Raises UserError as `quota`."""
    total, allowed = _used(folder)
    return _sentence(total, allowed) if total >= WARN * allowed else ""


def _used(folder: Path) -> tuple[int, float]:
    """Return what the runs take and may take; without a quota nothing is measured."""
    allowed = quota()
    return (0, math.inf) if allowed is None else (disk_use.use(folder).total, allowed)


def _sentence(total: int, allowed: float) -> str:
    end = ": nothing can be started." if total >= allowed else "."
    return f"The runs take {total / 1e9:.2f} GB of the {allowed / 1e9:g} GB that they may take{end}"


def space(folder: Path) -> None:
    """Raise UserError where the disk's quota is used up."""
    total, allowed = _used(folder)
    if total >= allowed:
        raise UserError(_sentence(total, allowed), "Delete runs, empty the trash, or let an administrator clean up.")


def starting(folder: Path) -> None:
    """Raise UserError where the acting person has enough in the queue, and where the disk's quota is used up.

    The command line may queue as much as it likes: whoever has a shell can start processes anyway.
    """
    space(folder)
    owner = access.owner()
    if owner == access.SHELL:
        return
    limit = queue_length()
    mine = sum(job.owner == owner for job in under_way.work(folder))
    if mine >= limit:
        raise UserError(
            f"You have {mine} runs in the queue, and {limit} is what one person may have.",
            "Wait until one has ended, or cancel one.",
        )
