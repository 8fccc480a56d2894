"""Sweeps: many runs that one command started, how far they are, and where their scores stand beside each other."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from core.jobs import sweep, unlearning_series
from core.jobs.sweep import Sweep
from dashboard import pages
from dashboard.text import md
from dashboard.widgets import number_table, page_style
from dashboard.widgets.number_table import Cell, Column, Row, Table

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
        if one.kind == "requests":
            requests(one)
    if len(sweeps) > SHOWN:
        st.caption(f"The newest {SHOWN} of {len(sweeps)}.")


def requests(series: Sweep) -> None:
    """Show what became of each subject while the next ones were forgotten, as far as it is."""
    record = unlearning_series.read(series)
    if not record["states"]:
        return
    with st.expander("Did what was forgotten first come back?", icon=":material/history:"):
        for sentence in unlearning_series.sentences(record):
            st.markdown(md(sentence))
        (first, *heads), *lines = unlearning_series.table(record)
        rows = [
            Row(str(name), [Cell() if value is None else Cell(f"{value:.1f}") for value in values])
            for name, *values in lines
        ]
        table = Table("Accuracy of each subject after each request", str(first), [Column(str(head)) for head in heads], rows)
        st.html(number_table.markup(table, page_style.palette()))
