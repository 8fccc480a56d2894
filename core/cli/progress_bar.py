"""A job on the terminal: its place in the queue, a bar for each stage with rate and time left, and what Ctrl-C does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from tqdm import tqdm

from core.cli.terminal import STATUS, note, out, scores
from core.cli.waiting import Waiting
from core.data import widened_questions
from core.jobs import lifecycle
from core.pipeline import preflight
from core.runs.store import Run
from core.runs.summary import summary
from core.util.errors import UserError, visible


def follow(run: Run) -> str:
    """Show progress on stderr until the run has ended; return its state.

    Ctrl-C once asks the worker to stop and keep the partial result; twice ends it at once.
    """
    bars = _Bars(run)
    asked = False
    events = lifecycle.follow(run, look=bars.wait)
    while True:
        try:
            for event in events:
                bars.show(event)
            bars.close()
            return str(run.status()["state"])
        except KeyboardInterrupt:
            if asked:
                lifecycle.kill(run)
                bars.close()
                return "cancelled"
            asked = True
            run.cancel()
            stops = "Leaving the queue" if bars.queued else "Stopping after this step; the partial result is kept"
            tqdm.write(f"{stops}. Ctrl-C again ends it at once.", sys.stderr)
            events = _rest(run, bars)  # a generator that was interrupted is at its end


def followed(work: Run) -> tuple[str, dict[str, str]]:
    """Show work until it has ended, and say so unless it ended well; return its state, with error and advice."""
    state, status = follow(work), work.status()
    problem = {key: str(status.get(key, "")) for key in ("error", "fix")}
    if state != "done":
        head = "" if problem["error"].startswith(state.capitalize()) else f"{state.capitalize()}: "
        note(f"{head}{problem['error']} {problem['fix']}".strip())
    return state, problem


def finished(given: argparse.Namespace, work: Run, run: Run, **also: Any) -> int:
    """Show work on a run until it has ended, then the run's scores; return the exit status. also: more of the JSON value."""
    state, problem = followed(work)
    output = {**also, **summary(run), **(problem if state == "failed" else {})}
    out(given, output, scores(run) if state == "done" else [])
    return STATUS.get(state, 1)


def completed(work: Run) -> None:
    """Show work until it is done. Raises UserError where it failed, KeyboardInterrupt where it was cancelled."""
    state, status = follow(work), work.status()
    if state == "cancelled":
        raise KeyboardInterrupt
    if state != "done":
        raise UserError(str(status.get("error", "")), str(status.get("fix", "")))


def _rest(run: Run, bars: _Bars) -> Iterator[dict[str, Any]]:
    """Follow anew after an interruption, without showing again what was shown."""
    for number, event in enumerate(lifecycle.follow(run, look=bars.wait)):
        if number >= bars.seen:
            yield event


class _Bars:
    """Turns events into at most one open bar."""

    def __init__(self, run: Run) -> None:
        self.run, self.waiting = run, Waiting()
        self.bar: Any = None
        self.seen = 0
        self.queued = False

    def wait(self, status: Mapping[str, Any]) -> None:
        """Say what the work waits for."""
        self.queued = status.get("state") == "queued"
        self.waiting(self.run, status)

    def show(self, event: dict[str, Any]) -> None:
        self.seen += 1
        kind = event["kind"]
        if kind == "stage":
            if event["state"] != "running":
                source = f" (from the {event['source']})" if event.get("source") else ""
                self._end(f"{event['name']:10} {event['state']} in {event.get('seconds', 0):.1f} s{source}")
        elif kind == "progress":
            self._progress(event)
        elif kind == "finding":
            tqdm.write(f"note: {visible(event['text'])}", sys.stderr)
        elif kind == "widened":
            tqdm.write(f"note: {widened_questions.in_words(event)}", sys.stderr)
        elif kind == "preflight":
            tqdm.write(f"note: {visible(preflight.in_words(event))}", sys.stderr)

    def _progress(self, event: dict[str, Any]) -> None:
        if self.bar is None or self.bar.unit != f" {event['unit']}" or self.bar.total != event["total"]:
            self._end("")
            self.bar = tqdm(
                total=event["total"], desc=event["stage"], unit=f" {event['unit']}", file=sys.stderr, leave=False
            )
        self.bar.n = event["done"]
        shown = {
            key: event[key] for key in event if key in ("loss", "accuracy", "unlearn", "retention") or key.endswith("_loss")
        }
        self.bar.set_postfix({key.replace("_loss", ""): f"{value:.3g}" for key, value in shown.items()}, refresh=False)
        self.bar.refresh()

    def _end(self, text: str) -> None:
        self.close()
        if text:
            tqdm.write(text, sys.stderr)

    def close(self) -> None:
        self.waiting.close()
        if self.bar is not None:
            self.bar.close()
            self.bar = None
