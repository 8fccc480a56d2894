"""Runs that live: the one at work and those that wait, with their order. Looks again while there are any.

Between people the queue is fair (core/jobs/queue.py); what people can change is the order among one owner's runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from core.jobs import lifecycle
from core.jobs import queue as tickets
from core.runs import store
from core.runs.overview import headline
from core.runs.store import Run
from core.util import access
from dashboard import pages
from dashboard.runs import progress
from dashboard.text import duration, md
from dashboard.widgets import cancel_button, page_style
from dashboard.widgets.current_run import ALIVE

EVERY = 1.5
"""Seconds between two looks."""


def show(folder: Path) -> None:
    """Show the living runs of a folder."""
    entries = {run.id: headline(run) for run in store.list_runs(folder)}
    living = {name: entry.name for name, entry in entries.items() if entry.state in ALIVE}
    if living:
        st.fragment(_look, run_every=EVERY)(living, folder)
    else:
        st.caption("Nothing is running, and nothing waits.")


def _look(names: dict[str, str], folder: Path) -> None:
    lifecycle.reap()
    runs = {name: Run(folder / name) for name in names}
    states = {name: run.status() for name, run in runs.items()}
    if any(status.get("state") not in ALIVE for status in states.values()):
        st.rerun()  # one has ended: the line is another
    st.subheader("At work and waiting")
    with st.container(border=True):
        for name in (ordered := line(runs, states)):
            mine = [
                other
                for other in ordered
                if states[other].get("state") == "queued" and owner(states[other]) == owner(states[name])
            ]
            _row(runs[name], names[name], states[name], mine.index(name) if name in mine else None, len(mine))


def owner(status: dict[str, Any]) -> str:
    """Return for whom a run is done."""
    return str(status.get("owner") or access.SHELL)


def line(runs: dict[str, Run], states: dict[str, dict[str, Any]]) -> list[str]:
    """Return ids in the order of the devices' queues; a run that has no ticket yet is last."""
    # Read once: tickets come and go while the rows are sorted.
    order = [ticket.run for queue in tickets.queues().values() for ticket in queue]
    last = len(order)
    return sorted(
        runs,
        key=lambda name: (
            states[name].get("state") != "running",
            order.index(runs[name].path) if runs[name].path in order else last,
            name,
        ),
    )


def _row(run: Run, name: str, status: dict[str, Any], position: int | None, waiting: int) -> None:
    whose = owner(status)
    by = "" if whose == access.owner() else f" · started by {md(whose)}"
    with st.container(horizontal=True, vertical_alignment="center", key=f"queue.{run.id}"):
        st.markdown(f"**{md(name)}**  \n:gray[{words(status)}{by}]", width="stretch")
        if position is not None and waiting > 1:
            st.button(
                "Earlier",
                key=f"up.{run.id}",
                icon=":material/arrow_upward:",
                type="tertiary",
                disabled=position == 0,
                on_click=move,
                args=(run, -1),
                help="Let it run before the previous one of the same person",
            )
            st.button(
                "Later",
                key=f"down.{run.id}",
                icon=":material/arrow_downward:",
                type="tertiary",
                disabled=position == waiting - 1,
                on_click=move,
                args=(run, 1),
                help="Let the next one of the same person run first",
            )
        cancel_button.show(run, f"cancel.{run.id}", help="What was computed is kept.")
        st.page_link(
            pages.RUNS.script,
            label="Watch",
            icon=":material/visibility:",
            query_params={"run": run.id, "view": pages.THIS_RUN},
        )


def words(status: dict[str, Any]) -> str:
    """Say what a living run does at the moment."""
    if status.get("state") == "queued":
        position = status.get("position")
        waits = "waits for the runs of its sweep before it" if status.get("sweep") else "starting …"
        return f"number {position} in the queue" if position else waits
    stage = str(status.get("stage") or "")
    values = (status.get("stages") or {}).get(stage) or {}
    parts = [progress.STAGES.get(stage, stage) or "starting …"]
    if values.get("done") and values.get("total"):
        parts.append(f"{values['done']:g} of {values['total']:g} {values.get('unit', '')}")
        if values.get("left"):
            parts.append(f"at most {duration(float(values['left']))} left for these {values.get('unit', '')}")
    return md(" · ".join(parts))


def move(run: Run, step: int) -> None:
    """Let a waiting run change places with its neighbour."""
    with page_style.complaints():
        if not tickets.move(run, step):
            st.toast("It cannot be moved any more.", icon=":material/info:")
