"""Where a new run is done: on this machine, or on the Ray cluster that somebody set up. Shown only where there is a
choice.
"""

from __future__ import annotations

import streamlit as st

from core.jobs import ray_cluster
from core.jobs.ray_cluster import Resources
from dashboard.text import md

HERE, CLUSTER = "here", "ray"
HELP = "On the cluster each run is a task with CPUs and GPUs of its own. This page follows it there as it does here."


def choose() -> Resources | None:
    """Let the place be chosen; return what the run takes of the cluster, None for this machine."""
    if not ray_cluster.offered():
        return None
    names = {HERE: "This machine", CLUSTER: f"Ray cluster ({md(ray_cluster.address())})"}
    where = st.segmented_control(
        "Where", list(names), format_func=names.get, key="new.where", default=HERE, required=True, help=HELP
    )
    if where != CLUSTER:
        return None
    cpus, gpus = st.columns(2)
    count = cpus.number_input(
        "CPUs", 1, 1024, 1, key="new.cpus", help="As many threads compute. The node keeps them free for this run."
    )
    cards = gpus.number_input(
        "GPUs", 0, 64, None, key="new.gpus", placeholder="if any", help="Empty: one where the cluster has any."
    )
    return Resources(float(count), None if cards is None else float(cards))
