"""Admin: who runs what, what it takes of memory and disk, and what can be ended or cleaned."""

from __future__ import annotations

import streamlit as st

from core.runs import store
from dashboard.runs import disk_use, trash, work_under_way
from dashboard.server import sign_in


def page() -> None:
    """Show the page to those for whom it is."""
    if not sign_in.admin():
        st.error("This page is for administrators.", icon=":material/lock:")
        return
    folder = store.runs_folder()
    st.title("Admin")
    disk_use.warn(folder)
    st.fragment(work_under_way.show, run_every=work_under_way.EVERY)(folder)
    disk_use.show(folder)
    trash.show()


page()
