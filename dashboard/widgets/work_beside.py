"""Work that a process of its own does: offered, watched as long as it lives, cancelled. Its page can be closed meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import streamlit as st

from core.jobs import lifecycle, under_way
from core.runs import layout
from core.runs.store import Run
from core.util.errors import UserError
from core.util.safe_read import mapping, number
from dashboard.text import duration, md
from dashboard.widgets import cancel_button, current_run, page_style

EVERY = 1.0
"""seconds between two looks"""

Status = Mapping[str, Any]
"""status.json of a job"""


@dataclass(frozen=True)
class Count:
    """How far the present stage of a job has counted."""

    share: float
    """0 … 1"""
    unit: str
    """what is counted"""
    words: str
    """“9 of 45 steps, 20 s left for these”"""


def show(run: Run, kind: str, words: str, offer: Callable[[], None]) -> None:
    """Show how far work of a kind (core/runs/layout.py) on a run is, or how the last one failed, and what starts it.

    words: what is being done.
    """
    work = layout.job_folder(kind, run)
    cancel = partial(cancel_button.show, work, f"{kind}.cancel", help="You can start it again later.")
    if not watch(work, partial(_of_present_stage, words), cancel):
        failed(work)
        offer()


def watch(work: Run, how_far: Callable[[Status], tuple[float, str]], cancel: Callable[[], None]) -> bool:
    """Show a job as long as it lives, and draw the whole page once it has ended; return whether it lives.

    how_far: of the status of a job at work, how much is done, 0 … 1, and what it is at. cancel: draws the button that ends
    it.
    """
    alive = work.path.is_dir() and work.status().get("state") in current_run.ALIVE
    if alive:
        st.fragment(_look, run_every=EVERY)(work, how_far, cancel)
    return alive


def _look(work: Run, how_far: Callable[[Status], tuple[float, str]], cancel: Callable[[], None]) -> None:
    lifecycle.reap()
    status = work.status()
    state = status.get("state")
    if state not in current_run.ALIVE:
        st.rerun()
    if state == "queued":
        st.info(place(work, status.get("position")), icon=":material/schedule:")
    else:
        share, words = how_far(status)
        st.progress(share, text=md(words))
    cancel()


def place(work: Run, position: int | None) -> str:
    """Say where a queued job stands, and what it waits for as far as that is known. position: None while it comes up."""
    if not position:
        return "Starting …"
    awaited = under_way.awaited(work)
    return f"Number {position} in the queue{f'. {md(awaited)}' if awaited else ': one run at a time uses the device.'}"


def failed(work: Run) -> None:
    """Say why a job failed, if it did."""
    if work.path.is_dir() and (status := work.status()).get("state") == "failed":
        page_style.complain(UserError(str(status.get("error") or "It failed."), str(status.get("fix") or "Start it again.")))


def count(status: Status) -> Count | None:
    """Return how far the present stage of a job has counted; None before it counts."""
    stage = mapping(status, "stages", str(status.get("stage")))
    done, total, left = (number(stage.get(name)) for name in ("done", "total", "left"))
    if done is None or not total:
        return None
    unit = str(stage.get("unit") or "")
    words = f"{done:.0f} of {total:.0f} {unit}" + ("" if left is None else f", {duration(left)} left for these")
    return Count(min(1.0, max(0.0, done / total)), unit, words)


def _of_present_stage(words: str, status: Status) -> tuple[float, str]:
    counted = count(status)
    return (counted.share, f"{words}: {counted.words}.") if counted else (0.0, f"{words}: the model is loaded.")
