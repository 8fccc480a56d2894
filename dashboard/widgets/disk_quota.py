"""The warning that the runs have nearly taken, or have taken, what they may of the disk."""

from __future__ import annotations

import os
from pathlib import Path

import streamlit as st

from core.jobs import limits
from dashboard.text import md
from dashboard.widgets import look


def warn(folder: Path) -> None:
    """Say it, where it is so."""
    with look.complaints():
        warning = _warning(str(folder), os.environ.get(limits.DISK_QUOTA, ""))
        if warning:
            st.warning(md(warning), icon=":material/hard_drive:")


@st.cache_data(ttl=10, max_entries=4, show_spinner=False)  # type: ignore[untyped-decorator]
def _warning(folder: str, quota: str) -> str:
    """Measure thousands of runs once for all who look within some seconds. quota: so that another one is heard at once."""
    return limits.disk_warning(Path(folder)) if quota else ""
