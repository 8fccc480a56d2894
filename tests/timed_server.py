"""`python -m tests.timed_server FILE …`: the dashboard as `python -m dashboard …`, which times its own script runs.

FILE gets a line of JSON for each, so that what the server needs can be told from what browsers beside it need.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from streamlit.runtime.scriptrunner.script_runner import ScriptRunner

from dashboard import __main__ as dashboard


class Timed(NamedTuple):
    """One run of a page's script."""

    page: str
    """path in the address, empty for the first page"""
    what: list[str]
    """["page"]: it was opened or changed to; else the keys of the controls that were used; empty for a timer"""
    wall: float
    """seconds from its beginning until its last element is on its way; waits for other people's scripts included"""
    work: float
    """seconds of processor time"""


def read(file: Path) -> list[Timed]:
    """Return the script runs that a server noted."""
    return [Timed(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def note_into(file: Path) -> None:
    """Let every script run of this process be noted."""
    run_script, writing = ScriptRunner._run_script, threading.Lock()
    seen: dict[str, tuple[str, dict[str, bytes]]] = {}  # session -> its page, and what its controls said

    def timed(self: ScriptRunner, rerun_data: Any) -> None:
        states = rerun_data.widget_states.widgets if rerun_data.widget_states else ()
        said = {state.id: state.SerializeToString() for state in states}
        began, busy = time.perf_counter(), time.thread_time()
        run_script(self, rerun_data)
        spent = time.perf_counter() - began, time.thread_time() - busy
        manager = self._pages_manager
        page = str(manager.get_pages().get(manager.current_page_script_hash, {}).get("url_pathname", ""))
        before, had = seen.get(self._session_id, (None, {}))
        # An element's id ends in its key.
        used = sorted(name.rpartition("-")[2] for name, value in said.items() if had.get(name) != value)
        what = ["page"] if before != page else [] if rerun_data.is_auto_rerun else used
        seen[self._session_id] = page, said
        with writing, file.open("a", encoding="utf-8") as log:
            log.write(json.dumps(Timed(page, what, *spent)._asdict()) + "\n")

    ScriptRunner._run_script = timed  # type: ignore[method-assign]


if __name__ == "__main__":
    note_into(Path(sys.argv.pop(1)))
    raise SystemExit(dashboard.main())
