"""The button that ends a run, or other work that is done like one."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from core.runs.store import Run
from dashboard.widgets import page_style


def show(
    work: Run, key: str, label: str = "Cancel", *, help: str = "", width: Literal["content", "stretch"] = "content"
) -> None:
    """Show it; once it was pressed it says so until the work has ended."""
    asked = (work.path / "cancel").exists()
    st.button(
        "Stopping …" if asked else label,
        key=key,
        icon=":material/stop:",
        disabled=asked,
        width=width,
        on_click=_cancel,
        args=(work,),
        help=help or None,
    )


def _cancel(work: Run) -> None:
    """Ask the worker to stop, or say why it cannot be asked."""
    with page_style.complaints():
        work.cancel()
