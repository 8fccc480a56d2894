"""Runs: all of them, a new one, one as it goes on, what waits, and what they take of disk and memory."""

from __future__ import annotations

import streamlit as st

from core.runs import store
from dashboard import pages
from dashboard.runs import all_runs, disk_use, new_run, progress, queue, sweeps, trash, work_under_way
from dashboard.server import sign_in
from dashboard.text import md
from dashboard.widgets import address, current_run, page_style


def page() -> None:
    """Show the page."""
    offered = [view for view in VIEWS if view != pages.DISK or sign_in.admin()]
    if st.query_params.get("view") == pages.DISK and pages.DISK not in offered:
        # What the work takes of memory and disk names other people and can end their work.
        st.error("“Disk and memory” is for administrators.", icon=":material/lock:")
    view = address.part(
        "view",
        offered,
        lambda: st.segmented_control("View", offered, key="view", required=True, label_visibility="collapsed", wrap=True),
    )
    with page_style.complaints():
        VIEWS[view]()


def this_run() -> None:
    """Show one run as it goes on, or how it went."""
    run = current_run.opened()
    if run is not None:
        st.title(md(run.config().name or run.id))
        progress.watch(run)


def waiting() -> None:
    """Show what is at work and what waits for the device, and the sweeps."""
    current_run.stay()
    st.title("Queue and sweeps")
    queue.show(store.runs_folder())
    sweeps.show(store.runs_folder())


def device() -> None:
    """Show what the work takes of memory and disk, with what can be ended and cleaned."""
    folder = store.runs_folder()
    current_run.stay()
    st.title("Disk and memory")
    disk_use.warn(folder)
    st.fragment(work_under_way.show, run_every=work_under_way.EVERY)(folder)
    disk_use.show(folder)
    trash.show()


VIEWS = {
    pages.ALL_RUNS: all_runs.show,
    pages.NEW_RUN: new_run.show,
    pages.THIS_RUN: this_run,
    pages.QUEUE: waiting,
    pages.DISK: device,
}
page()
