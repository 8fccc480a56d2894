"""What the runs take on the disk, the warning when that is nearly all they may, and what can be cleaned."""

from __future__ import annotations

import os
from pathlib import Path

import streamlit as st

from core.jobs import queue_limits
from core.runs import disk_use
from core.runs.disk_use import Use
from core.util import access
from dashboard import pages
from dashboard.text import md
from dashboard.widgets import page_style

TITLES = {
    "runs": (
        "Runs",
        "Everything that runs hold. They are deleted one by one on the page Runs, and can be taken back there.",
    ),
    "trash": ("Trash", "Deleted runs. The page Runs offers to take them back until it is left; emptied, they are gone."),
    "cache": (
        "Cached stages",
        "Taught adapters and gradients that no run holds any more. Without them another run computes them again.",
    ),
    "uploads": (
        "Uploaded files",
        "Data that people uploaded. What a run is made with stays, and so does what came within the last hour.",
    ),
    "notes": (
        "Notes of ended work",
        "What workers of references, probes, estimates and harnesses reported. Their results stand in the runs.",
    ),
    "asked": (
        "Asked questions",
        "What visitors asked on Compare, kept for their next visit. Cleaned up, everybody's history is empty.",
    ),
}
"""part of the folder of runs -> its name, and what becomes of it"""


def show(folder: Path) -> None:
    """Show the parts with their sizes, and offer to clean them."""
    use = disk_use.use(folder)
    st.subheader("Disk")
    st.markdown(f"**{size(use.total)}** in {md(folder)} · {quota()}**{size(use.free)}** free on that disk")
    for part in disk_use.PARTS:
        _row(part, use, folder)


def quota() -> str:
    """Say what the runs may take."""
    with page_style.complaints():
        allowed = queue_limits.quota()
        return f"quota **{allowed / 1e9:g} GB** · " if allowed else f"no quota ({md(queue_limits.DISK_QUOTA)} sets one) · "
    return ""


def _row(part: str, use: Use, folder: Path) -> None:
    title, what = TITLES[part]
    with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"admin.disk.{part}"):
        st.markdown(f"{title} · **{size(use.sizes[part])}**  \n:gray[{what}]", width="stretch")
        if part == disk_use.RUNS:
            st.page_link(pages.RUNS.script, label="All runs", icon=pages.RUNS.icon, query_params={"view": pages.ALL_RUNS})
        elif use.sizes[part] and not access.read_only():
            with st.popover("Clean up", icon=":material/cleaning_services:"):
                st.markdown(f"{title}: {size(use.sizes[part])} go for good. What a worker uses at the moment stays.")
                st.button("Delete for good", key=f"admin.clean.{part}", type="primary", on_click=clean, args=(part, folder))


def clean(part: str, folder: Path) -> None:
    """Clean a part, and say what that brought."""
    with page_style.complaints():
        freed = disk_use.clean(part, folder)
        st.toast(f"{TITLES[part][0]}: {size(freed)} are free again.", icon=":material/cleaning_services:")


def size(count: int) -> str:
    """Write a number of bytes."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.0f} kB"


def warn(folder: Path) -> None:
    """Say that the runs have nearly taken, or have taken, what they may of the disk."""
    with page_style.complaints():
        warning = _warning(str(folder), os.environ.get(queue_limits.DISK_QUOTA, ""))
        if warning:
            st.warning(md(warning), icon=":material/hard_drive:")


@st.cache_data(ttl=10, max_entries=4, show_spinner=False)  # type: ignore[untyped-decorator]
def _warning(folder: str, quota: str) -> str:
    """Measure thousands of runs once for all who look within some seconds. quota: so that another one is heard at once."""
    return queue_limits.disk_warning(Path(folder)) if quota else ""
