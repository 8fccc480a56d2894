"""Admin: who runs what, what it takes of memory and disk, and what can be ended or cleaned."""

from __future__ import annotations

import streamlit as st

from core import store
from dashboard.parts import admin_disk, admin_work, people, quota, runs_trash


def page() -> None:
    """Show the page to those for whom it is."""
    if not people.admin():
        st.error("This page is for administrators.", icon=":material/lock:")
        return
    folder = store.runs_folder()
    st.title("Admin")
    quota.warn(folder)
    st.fragment(admin_work.show, run_every=admin_work.EVERY)(folder)
    admin_disk.show(folder)
    runs_trash.show()


page()
