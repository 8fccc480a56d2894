"""A run's events as bars on the terminal, one a stage, with rate and time left; and what Ctrl-C does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from core.data import widen
from core.jobs import lifecycle
from core.pipeline import preflight
from core.runs.store import Run
from core.util.errors import visible


def follow(run: Run) -> str:
    """Show progress on stderr until the run has ended; return its state.

    Ctrl-C once asks the worker to stop and keep the partial result; twice ends it at once.
    """
    bars = _Bars()
    asked = False
    events = lifecycle.follow(run)
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
            tqdm.write("Stopping after this step; the partial result is kept. Ctrl-C again ends it at once.", sys.stderr)
            events = _rest(run, bars)


def _rest(run: Run, bars: _Bars) -> Iterator[dict[str, Any]]:
    """Follow anew after an interruption, without showing again what was shown."""
    for number, event in enumerate(lifecycle.follow(run)):
        if number >= bars.seen:
            yield event


class _Bars:
    """Turns events into at most one open bar."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.seen = 0

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
            tqdm.write(f"note: {widen.in_words(event)}", sys.stderr)
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
        if self.bar is not None:
            self.bar.close()
            self.bar = None
