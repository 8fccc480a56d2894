"""The current run: one for all pages, kept in the address as ?run=, with cached readers of its files."""

from __future__ import annotations

import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from core import probes
from core.models.names import BUNDLED
from core.runs import store
from core.runs.overview import Overview, headline
from core.runs.store import Run
from core.util import safe_read
from dashboard import pages
from dashboard.text import md
from dashboard.widgets import copy_link

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import pandas as pd

OF_ONE_RUN = ("region", "cell")
"""parameters of the address that make no sense with another run"""
ALIVE = store.ALIVE
ICONS = {
    "done": ":material/check_circle:",
    "running": ":material/progress_activity:",
    "queued": ":material/schedule:",
    "cancelled": ":material/block:",
    "failed": ":material/error:",
    "unreadable": ":material/help:",
}
COLORS = {"done": "green", "running": "orange", "queued": "gray", "cancelled": "gray", "failed": "red", "unreadable": "red"}


def known_runs() -> dict[str, Run]:
    """Return the user's runs, newest first, and after them the bundled ones."""
    mine = store.list_runs(store.runs_folder())
    return {run.id: run for run in [*mine, *store.bundled_runs()]}


def distinct_names(overviews: Sequence[Overview]) -> dict[str, str]:
    """Return a name for each id that no other run here has."""
    often = Counter(run.name for run in overviews)
    return {run.id: run.name if often[run.name] == 1 else f"{run.name} ({run.id})" for run in overviews}


def default_run(runs: Mapping[str, Run]) -> str | None:
    """Return the run that a first visit opens on: a bundled finished one, else the newest finished, else the newest."""
    order = sorted(runs, key=lambda name: not runs[name].bundled)
    finished = (name for name in order if runs[name].status().get("state") == "done")  # of many, few are looked at
    return next(finished, next(iter(runs), None))


def busy() -> bool:
    """Say whether any run is at work or waits."""
    return any(headline(run).state in ALIVE for run in known_runs().values())


def open_run(name: str) -> None:
    """Make a run the current one from here on (in callbacks and before a page switch)."""
    st.session_state["run_id"] = name
    # Streamlit sends the whole address with each word that is set: in a quick burst it is one that the browser has left
    # already, and would become a step of its history.
    if st.query_params.get("run") != name:
        st.query_params["run"] = name


def pick() -> Run | None:
    """Show the picker and return the current run, None where there is none at all."""
    runs = known_runs()
    wanted = st.query_params.get("run") or st.session_state.get("run_id")
    name = wanted if wanted in runs else default_run(runs)
    if wanted and wanted not in runs:
        st.warning(f"There is no run “{md(wanted)}” here any more.", icon=":material/link_off:")
    if name is None:
        return None
    open_run(name)
    # Before the box is drawn: a run that a link opened wins over the one that the box showed.
    st.session_state["picked"] = name
    picker, facts, copy = st.columns([1.8, 3.6, 0.6], vertical_alignment="center")
    picker.selectbox(
        "Run",
        list(runs),
        format_func=lambda key: label(runs[key]),
        key="picked",
        on_change=lambda: go_to(st.session_state["picked"]),
        label_visibility="collapsed",
    )
    facts.markdown(describe(runs[name]))
    with copy:
        copy_link.copy()
    return runs[name]


def stay() -> None:
    """Keep the current run in the address where no picker is shown, so that other pages open on it."""
    runs = known_runs()
    wanted = st.query_params.get("run") or st.session_state.get("run_id")
    if name := wanted if wanted in runs else default_run(runs):
        open_run(name)


def not_that_far(run: Run, alive: str, ended: str) -> None:
    """Say why a page has nothing to show of a run, in one of two sentences, and link to the run itself."""
    st.info(alive if run.status().get("state") in ALIVE else ended)
    st.page_link(
        pages.RUNS.script,
        label="See the run",
        icon=pages.RUNS.icon,
        query_params={"run": run.id, "view": pages.THIS_RUN},
    )


def opened() -> Run | None:
    """Show the picker and return the current run; None, with the reason on the page, where there is nothing to show."""
    run = pick()
    if run is None:
        nothing_here()
        return None
    return None if unreadable(run) else run


def go_to(name: str) -> None:
    """Go to another run, without the address's words about the run before.

    The run changes last: each change is a step of the browser's history, and the way back must not lead over the new
    run with the old one's region.
    """
    for key in OF_ONE_RUN:
        st.query_params.pop(key, None)
    st.session_state.pop("brushed", None)  # a box that was drawn in the other one's scatter
    open_run(name)


def label(run: Run) -> str:
    """Return a run's line in the picker."""
    entry = headline(run)
    state = (
        "" if entry.state == "done" else f"{entry.state} · "
    )  # the usual one needs no words, which a telephone has no room for
    return f"{entry.name} · {state}{'bundled' if run.bundled else day(entry.created)}"


def day(moment: Any) -> str:
    """Write a time as day and minute, an empty string for anything else."""
    seconds = safe_read.moment(moment)
    return "" if seconds is None else time.strftime("%d %b %H:%M", time.localtime(seconds))


def describe(run: Run) -> str:
    """Return one Markdown line: state, model, data, region."""
    state = str(run.status().get("state"))
    parts = [f":{COLORS.get(state, 'gray')}-badge[{ICONS.get(state, '')} {md(state)}]"]
    values = run.json("config.json")
    if isinstance(values, dict):
        model, data = values.get("model") or {}, values.get("data") or {}
        parts.append(f"**{md(model_name(model.get('name', '?')))}**")
        parts.append(f"data **{md(tail(data.get('source', '?')))} {md(data.get('subset', ''))}**")
    region = run.json("region.json")
    if isinstance(region, dict) and "count" in region:
        parts.append(f"region **{md(region['count'])} of {md(region['total'])}** tensors")
    return " · ".join(parts)


def model_name(name: object) -> str:
    """Return what a model is called: the bundled one has a name of its own."""
    return BUNDLED if name == "bundled" else tail(name)


def tail(name: object) -> str:
    """Shorten a path to its last part; names of the hub stay whole."""
    text = str(name)
    return f"…/{text.rstrip('/').rpartition('/')[2]}" if text.startswith(("/", "~", ".")) else text


def stamp(run: Run, name: str) -> float:
    """Return a file's time of change, so that a cached reader notices a new version; 0 where it is missing."""
    try:
        return (run.path / name).stat().st_mtime
    except OSError:
        return 0.0


def table(run: Run, name: str) -> pd.DataFrame | None:
    """Return a parquet table of a run, cached; what is changed in it is changed for nobody else."""
    frame = _table(str(run.path), name, stamp(run, f"{name}.parquet"))
    return None if frame is None else frame.copy(deep=False)  # pandas copies what is written to


def answers(run: Run) -> Sequence[Mapping[str, Any]]:
    """Return the recorded answers of a run, cached and the same for everybody: not to be changed."""
    return _answers(str(run.path), stamp(run, "answers.jsonl"))


def findings(run: Run) -> Mapping[str, Mapping[str, Any]]:
    """Return what leak probes found in a run, cached and the same for everybody: not to be changed."""
    files = (*probes.files(run), run.path / "manifest.json")  # by which it says what is about an earlier result
    return _findings(str(run.path), tuple((str(path), safe_read.stamp(path)) for path in files))


def detail(run: Run) -> dict[str, np.ndarray] | None:
    """Return the arrays of detail.npz, cached; None where the file is missing or damaged."""
    return _detail(str(run.path), stamp(run, "detail.npz"))


# As resources: cache_data would copy megabytes at each call. `changed` only tells one version of a file from the next.
@st.cache_resource(max_entries=16, show_spinner=False)  # type: ignore[untyped-decorator]
def _table(path: str, name: str, changed: float) -> pd.DataFrame | None:
    frame = _run(path).table(name) if changed else None
    if frame is None:
        return None
    # Charts walk over names and modules again and again: that is ten times faster over Python's own texts than over Arrow's.
    return frame.astype({column: object for column in frame.columns if frame[column].dtype == "str"})


@st.cache_resource(max_entries=8, show_spinner=False)  # type: ignore[untyped-decorator]
def _answers(path: str, changed: float) -> Sequence[Mapping[str, Any]]:
    return _run(path).answers() if changed else []


@st.cache_resource(max_entries=8, show_spinner=False)  # type: ignore[untyped-decorator]
def _findings(path: str, changed: tuple[tuple[str, tuple[int, int]], ...]) -> Mapping[str, Mapping[str, Any]]:
    return probes.read(_run(path))


@st.cache_resource(max_entries=4, show_spinner=False)  # type: ignore[untyped-decorator]
def _detail(path: str, changed: float) -> dict[str, np.ndarray] | None:
    import numpy as np

    if not changed:
        return None
    try:
        # No pickles: a run may be a stranger's, and unpickling runs code.
        with np.load(_run(path).path / "detail.npz", allow_pickle=False) as arrays:
            return dict(arrays.items())
    except (OSError, ValueError, zipfile.BadZipFile):
        return None


def _run(path: str) -> Run:
    return Run(Path(path))


def nothing_here() -> None:
    """Say what to do when there is no run at all."""
    st.title("No run yet")
    st.markdown("A run teaches a model some facts, makes it forget some of them, and measures what was lost.")
    st.page_link(pages.RUNS.script, label="Start the first run", icon=":material/add:", query_params={"view": pages.NEW_RUN})


def unreadable(run: Run) -> bool:
    """Show why a run cannot be read; return whether that is so."""
    problem = run.problem()
    if problem:
        st.error(f"**{md(problem)}**", icon=":material/error:")
        st.caption("Other runs are not affected: choose one above.")
    return bool(problem)
