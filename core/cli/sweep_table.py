"""A sweep on the terminal: one line a finished run, a bar for the whole, and what Ctrl-C does."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

from core.cli.waiting import Waiting
from core.jobs import lifecycle, sweep_scores
from core.jobs import sweep as sweep_
from core.jobs.sweep import Entry, Sweep, described
from core.jobs.sweep_scores import row
from core.runs import store
from core.runs.asked import GIBBERISH
from core.runs.store import Run

HEAD = ("U leaked", f"U {GIBBERISH}", "R kept", "U", "R", "average", "never-knew", GIBBERISH, "steps", "seconds")
WIDTH = max(map(len, HEAD))


def follow(sweep: Sweep, every: float = 0.2) -> str:
    """Show progress on stderr until the sweep has ended; return its state.

    Ctrl-C once asks the worker to stop: the run at work keeps its partial result, and the sweep can be resumed. Twice
    ends it at once.
    """
    table, asked = _Table(sweep), False
    while True:
        try:
            while True:
                lifecycle.reap()
                # The state is read first: a run that ends between the two looks is then never missed.
                state = str(sweep.as_run.status()["state"])
                table.show()
                if state in store.ENDED or state == "unreadable":
                    table.close()
                    return state
                time.sleep(every)
        except KeyboardInterrupt:
            if asked:
                lifecycle.kill(sweep.as_run)
                table.close()
                return "cancelled"
            asked = True
            sweep_.cancel(sweep)
            tqdm.write("Stopping; what is finished stays. Ctrl-C again ends it at once.", sys.stderr)


class _Table:
    """Remembers which runs were shown."""

    def __init__(self, sweep: Sweep) -> None:
        self.entries = sweep.entries()
        self.left = list(self.entries)
        self.sweep, self.width = sweep, max(len(described(e.coordinates)) for e in self.entries)
        tqdm.write(f"{'':{self.width}}  " + "  ".join(f"{name:>{WIDTH}}" for name in HEAD), sys.stderr)
        self.waiting = Waiting()
        self.bar = tqdm(total=len(self.entries), unit=" runs", file=sys.stderr, leave=False, disable=None)

    def show(self) -> None:
        for entry in list(self.left):
            if entry.run.status().get("state") in store.ENDED:
                self.left.remove(entry)
                tqdm.write(line(entry, self.width), sys.stderr)
                self.bar.update(1)
        status = self.sweep.as_run.status()
        self.waiting(self.sweep.as_run, status)
        if status.get("position"):
            self.bar.set_postfix_str(f"waiting, place {status['position']}", refresh=False)
        elif status.get("now"):
            run = Run(self.sweep.folder / str(status["now"]))
            self.bar.set_postfix_str(f"{run.id[16:]} {run.status().get('stage', '')}", refresh=False)
        self.bar.refresh()

    def close(self) -> None:
        self.waiting.close()
        self.bar.close()


def line(entry: Entry, width: int) -> str:
    """Return a finished run as a line: what it says of the kind of question that says the most, then next-word accuracy."""
    record = row(entry)
    name = f"{described(entry.coordinates):{width}}"
    if record["state"] != "done":
        return f"{name}  {record['state']}: {record['error']}"
    said = [sweep_scores.said(record, name) for name in sweep_scores.SAID]
    scores = [sweep_scores.first(record[key]) for key in ("unlearn", "retention", "average", "never_knew", "degenerate")]
    total = sum(value or 0 for value in record["seconds"].values())
    return (
        f"{name}  "
        + "  ".join(_cell(value) for value in (*said, *scores, record["kept"], total))
        + ("  ✖ diverged" if record["diverged"] else "")
    )


def _cell(value: Any) -> str:
    text = "–" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)
    return f"{text:>{WIDTH}}"
