"""Who runs what, since when, and what each process takes of the memory. Looks again as long as the page is open."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from core.jobs import lifecycle, under_way
from core.jobs.under_way import Process, Work
from core.util import access
from dashboard.runs import queue
from dashboard.text import duration, md
from dashboard.widgets import cancel_button

EVERY = 2.0
"""Seconds between two looks."""


def show(folder: Path) -> None:
    """Show what lives, with a button to end it, and the processes."""
    lifecycle.reap()
    pieces, running = under_way.work(folder), under_way.ours()
    st.subheader("At work and waiting")
    if not pieces:
        st.caption("Nothing is running, and nothing waits.")
    memory = {process.pid: process.memory for process in running}
    now = time.time()
    for work in pieces:
        _row(work, memory, now)
    st.subheader("Memory")
    st.dataframe(table(running, pieces, now), hide_index=True, key="admin.processes", placeholder="–")
    st.caption("All of this user's processes of Forgetscope on this machine. An answerer ends after ten idle minutes.")


def _row(work: Work, memory: Mapping[int, int], now: float) -> None:
    pid = work.status.get("pid")
    person = [f"**{md(work.owner)}**"] if "@" in work.owner else []  # who did not sign in has no name
    facts = [*person, queue.words(work.status), f"for {duration(max(0.0, now - work.since))}"]
    if isinstance(pid, int) and pid in memory and work.status.get("host") == os.uname().nodename:
        facts.append(f"{memory[pid] / 1e6:,.0f} MB")
    with st.container(
        border=True, horizontal=True, vertical_alignment="center", key=f"admin.{work.kind}.{work.job_folder.id}"
    ):
        st.markdown(f"{md(name(work))}  \n:gray[{' · '.join(facts)}]", width="stretch")
        if not access.read_only():
            key = f"admin.cancel.{work.kind}.{work.job_folder.id}"
            cancel_button.show(work.job_folder, key, help=f"End {work.job_folder.id}: what was computed is kept.")


def name(work: Work) -> str:
    """Return what a piece of work is called."""
    return under_way.called(work.job_folder, work.kind)


def table(running: Sequence[Process], pieces: Sequence[Work], now: float) -> dict[str, list[Any]]:
    """Return the processes as columns; a worker is named after what it works at."""
    names = {work.status.get("pid"): name(work) for work in pieces}
    return {
        "Process": [f"{process.what}{' (this one)' if process.pid == os.getpid() else ''}" for process in running],
        "At": [names.get(process.pid) for process in running],
        "Memory in MB": [round(process.memory / 1e6) for process in running],
        "Running for": [duration(max(0.0, now - process.since)) for process in running],
        "Process number": [process.pid for process in running],
    }
