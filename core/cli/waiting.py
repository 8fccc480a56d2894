"""What a command waits for, as one line on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from core.cli.terminal import note
from core.jobs import under_way
from core.runs.store import Run
from core.util.errors import visible

EVERY = 1.0
"""seconds between two looks at the queue"""


class Waiting:
    """Called with a job and its status, time and again: on a terminal the line is kept fresh in its place, elsewhere a new
    one comes when another job has the device, or the place in the queue changes.
    """

    def __init__(self) -> None:
        """Begin with nothing said."""
        self._line: Any = None
        self._seen = 0.0
        self._said: tuple[Run | None, int] | None = None

    def __call__(self, job_folder: Run, status: Mapping[str, Any]) -> None:
        """Say what the job waits for, if it waits."""
        if status.get("state") != "queued" or not status.get("position"):
            self.close()
            return
        if self._seen and time.monotonic() - self._seen < EVERY:
            return
        self._seen = time.monotonic()
        awaited = under_way.awaited(job_folder)
        if awaited is None:
            return
        if sys.stderr.isatty():
            if self._line is None:
                self._line = tqdm(bar_format="{desc}", file=sys.stderr, leave=False, dynamic_ncols=True)
            self._line.set_description_str(visible(str(awaited)))
        elif self._said != (said := (awaited.holder, awaited.between)):
            self._said = said
            note(str(awaited))

    def close(self) -> None:
        """Take the line away."""
        if self._line is not None:
            self._line.close()
            self._line = None
