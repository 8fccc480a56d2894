"""Sweeps: many runs that one command started, how far they are, and where their scores stand beside each other."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from core.jobs import sweep
from dashboard import pages
from dashboard.text import md

SHOWN = 30
"""sweeps that are listed, the newest ones"""
BESIDE = 80
"""runs of one that are opened side by side"""


def show(folder: Path) -> None:
    """List the sweeps of a folder of runs."""
    st.subheader("Sweeps")
    sweeps = sweep.list_sweeps(folder)
    if not sweeps:
        st.markdown("None yet. `python -m core sweep --help` says how methods, regions and seeds are run in one go.")
    for one in sweeps[:SHOWN]:
        state = sweep.state(one)
        done = [entry.run.id for entry in one.entries() if entry.run.status().get("state") == "done"]
        with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"sweep.{one.id}"):
            words = f"{md(one.kind)} · {md(state['state'])} · {state['ended']} of {state['total']} runs ended"
            st.markdown(f"**{md(one.name)}**  \n:gray[{words}]", width="stretch")
            if done:
                st.page_link(
                    pages.EVIDENCE.script,
                    label="Scores side by side",
                    icon=pages.EVIDENCE.icon,
                    query_params={"run": done[0], "part": "Scores", "beside": ",".join(done[1 : 1 + BESIDE]) or "none"},
                )
    if len(sweeps) > SHOWN:
        st.caption(f"The newest {SHOWN} of {len(sweeps)}.")
