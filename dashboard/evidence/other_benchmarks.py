"""Other benchmarks: lm-evaluation-harness on before, after and never, started from the page; what it found earlier."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.jobs import lm_eval_harness
from core.jobs.lm_eval_harness import Results
from core.runs import layout
from core.runs.store import Run
from core.runs.voices import SPOKEN, VOICE_NAMES
from core.util.safe_read import mapping, number
from dashboard.widgets import number_table, page_style, work_beside
from dashboard.widgets.number_table import Cell, Column, Row, Table

USUAL = "arc_easy,truthfulqa_mc2"
VOICES = ("before", "after", "never")


def show(run: Run) -> None:
    """Show what was found, and offer to ask for more."""
    with st.expander("Other benchmarks", icon=":material/quiz:"):
        if found := results(run):
            st.html(number_table.markup(table(found), page_style.palette()))
        work_beside.show(run, "harness", "Asking other benchmarks", partial(_offer, run))


def results(run: Run) -> Results:
    """Return voice -> task -> measure -> value; of a bundled run what was asked here."""
    if run.bundled:
        return lm_eval_harness.result(layout.job_folder("harness", run))
    return mapping(mapping(run.json("harness.json")).get("results"))


def table(found: Results) -> Table:
    """Return a line a task and measure, a column a voice."""
    voices = [voice for voice in SPOKEN if voice in found]
    tasks = {voice: mapping(found[voice]) for voice in voices}
    lines = {(task, name) for each in tasks.values() for task, values in each.items() for name in mapping(values)}
    rows = []
    for task, name in sorted(lines):
        values = [number(mapping(tasks[voice].get(task)).get(name)) for voice in voices]
        cells = [Cell() if value is None else Cell(f"{value:.3f}") for value in values]
        rows.append(Row(f"{task}, {name.partition(',')[0]}", cells))
    columns = [Column(VOICE_NAMES[voice]) for voice in voices]
    return Table("Other benchmarks", "as lm-evaluation-harness counts", columns, rows)


def _offer(run: Run) -> None:
    st.caption("lm-evaluation-harness asks before, after and never taught. It is an extra, and fetches each task's data.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        tasks = st.text_input("Tasks", USUAL, key="harness.tasks", help="As the harness names them, with commas between.")
        limit = st.number_input(
            "Questions of each task", 1, 100_000, 100, key="harness.limit", help="All of them can take hours on two cores."
        )
        if st.button("Ask", icon=":material/play_arrow:", key="harness.start", disabled=not tasks.strip()):
            with page_style.complaints():
                wanted = [name for task in tasks.split(",") if (name := task.strip())]
                lm_eval_harness.start(run, wanted, VOICES, int(limit))
                st.rerun()
