"""How much one person may queue and all runs together may lie on the disk; asked before anything is created."""

from __future__ import annotations

import os
from pathlib import Path

from core import access, living
from core.errors import UserError

QUEUE_LENGTH = "FORGETSCOPE_QUEUE_LENGTH"
"""environment variable: how many runs and sweeps of one person may be queued or at work at a time"""
LENGTH = 10
"""without the variable: a morning's worth of runs of the bundled model"""


def queue_length() -> int:
    """Return the limit for each person. Raises UserError for anything but a number from 1 on."""
    text = os.environ.get(QUEUE_LENGTH) or str(LENGTH)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**6):
        raise UserError(f"{QUEUE_LENGTH} is “{text}”, which is no number of runs.", "Give a whole number from 1 on.")
    return int(text)


def starting(folder: Path) -> None:
    """Raise UserError where the acting person has enough in the queue.

    The command line has no limit: whoever has a shell can start processes anyway.
    """
    owner = access.owner()
    if owner == access.SHELL:
        return
    limit = queue_length()
    mine = sum(one.owner == owner for one in living.work(folder))
    if mine >= limit:
        raise UserError(
            f"You have {mine} runs in the queue, and {limit} is what one person may have.",
            "Wait until one has ended, or cancel one.",
        )
