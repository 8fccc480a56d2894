"""A run's events as they are appended: each poll reads only what is new."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from core.runs.store import Run
from core.util.safe_read import json_objects

LARGEST_READ = 2**26
"""Bytes read in one poll at most; a file that grew by more is read on by the next one."""


@dataclass
class Follower:
    """What has been read of one events.jsonl."""

    run: Run
    offset: int = 0
    """bytes that were read, up to the end of a line"""
    inode: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def read(self) -> list[dict[str, Any]]:
        """Return all events so far. A half-written last line is left for the next call; a replaced file is read anew."""
        path = self.run.path / "events.jsonl"
        try:
            with path.open("rb") as file:
                stat = path.stat()
                # Another or a shorter file under the name: what was read is of one that is gone.
                if stat.st_ino != self.inode or stat.st_size < self.offset:
                    self.offset, self.inode, self.events = 0, stat.st_ino, []
                file.seek(self.offset)
                new = file.read(LARGEST_READ)
        except OSError:
            return []
        # The worker may be in the middle of a line.
        whole = new.rfind(b"\n") + 1
        self.offset += whole
        self.events += json_objects(new[:whole].splitlines())
        return self.events


def events(run: Run) -> list[dict[str, Any]]:
    """Return a run's events; this visitor's follower remembers what it has read."""
    follower = st.session_state.get("follower")
    if not isinstance(follower, Follower) or follower.run != run:
        follower = Follower(run)
        st.session_state["follower"] = follower
    return follower.read()
