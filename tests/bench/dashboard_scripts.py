"""`python -m tests.bench.dashboard_scripts`: what the server's scripts cost by page; prints one JSON object.

Milliseconds of the script's processor time, not of a clock, so a busy machine does not matter. Over the websocket, without
a browser; median of REPEAT, beside the first of all.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from core.serve import client
from tests import timed_server
from tests.e2e.serving import Server
from tests.visitor import Visitor

REPEAT = 5
SETTLE = 15.0
"""seconds in which the server gets ready"""
NOTED = 0.3
"""seconds after a page's last element until its script is noted"""
FIRST, OTHER = "privacy-clean", "privacy-memflex"
"""the run that a first visit opens on, and another one, whose region has thresholds"""
PAGES = ("", "compare", "evidence", "report", "runs", "help")
FORM = "New run"


def main() -> int:
    """Measure, and print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times.jsonl"
        server = Server(Path(folder), times)
        os.environ |= server.folders
        server.start()
        try:
            time.sleep(SETTLE)
            with Visitor(server.url) as visitor:
                found = measured(visitor, times)
        finally:
            server.stop()
            client.leave()
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


def measured(visitor: Visitor, times: Path) -> dict[str, dict[str, int]]:
    """Return what was done -> {"first": ms, "again": ms}."""
    acts: list[tuple[str, Callable[[], object]]] = [
        *((page or "localize", partial(visitor.open, page, run=FIRST)) for page in PAGES),
        (FORM, partial(visitor.open, "runs", run=FIRST, view=FORM)),
    ]
    acts = acts * (REPEAT + 1) + [("localize, another run", partial(visitor.open, run=OTHER))] * (REPEAT + 1)
    acts += [("slider", partial(visitor.move, "mu", 0.2 + 0.1 * number)) for number in range(REPEAT + 1)]
    spent: dict[str, list[float]] = {}
    for what, act in acts:
        before = len(timed_server.read(times))
        act()
        time.sleep(NOTED)
        spent.setdefault(what, []).append(1000 * sum(one.work for one in timed_server.read(times)[before:]))
    return {
        what: {"first": round(first), "again": round(statistics.median(again))} for what, (first, *again) in spent.items()
    }


if __name__ == "__main__":
    raise SystemExit(main())
