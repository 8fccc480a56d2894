"""Later work on a finished run, done by a process of its own: offered, watched, cancelled. Its page can be closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from core.jobs import lifecycle
from core.runs import layout
from core.runs.store import Run
from core.util.errors import UserError
from core.util.progress import duration
from core.util.safe_read import number
from dashboard.text import md
from dashboard.widgets import cancel_button, current_run, page_style

EVERY = 1.5
"""seconds between two looks"""


def show(run: Run, kind: str, words: str, offer: Callable[[], None]) -> None:
    """Show how far work of a kind (core/runs/layout.py) on a run is, or how the last one failed, and what starts it.

    words: what is being done.
    """
    if layout.under_way(kind, run):
        st.fragment(_going_on, run_every=EVERY)(run, kind, words)
        return
    work = layout.job_folder(kind, run)
    if work.path.is_dir() and (status := work.status()).get("state") == "failed":
        page_style.complain(UserError(str(status.get("error") or "It failed."), str(status.get("fix") or "Start it again.")))
    offer()


def _going_on(run: Run, kind: str, words: str) -> None:
    """Draws the whole page once the work has ended."""
    lifecycle.reap()
    work = layout.job_folder(kind, run)
    if work.status().get("state") not in current_run.ALIVE:
        st.rerun()
    last: dict[str, Any] = next((event for event in reversed(work.events()) if event.get("kind") == "progress"), {})
    done, total, left = (number(last.get(name)) for name in ("done", "total", "left"))
    now, still = "it is queued, or the model is loaded", "" if left is None else f", {duration(left)} left"
    if done is not None and total:
        now = f"{done:.0f} of {total:.0f} {last.get('unit') or ''}{still}"
    st.progress(min(1.0, (done or 0.0) / (total or 1.0)), text=md(f"{words}: {now}."))
    cancel_button.show(work, f"{kind}.cancel", help="You can start it again later.")
