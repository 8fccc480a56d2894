"""Which runs stand beside the current one in scores, trade-off and cost; kept in the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from core.runs.overview import Overview, overview
from core.runs.store import Run
from dashboard.evidence import scores_table
from dashboard.evidence.scores_table import Measured
from dashboard.widgets import current_run

MOST = 80
"""runs side by side"""
NOBODY = "none"


def choose(run: Run) -> list[Measured]:
    """Let runs be chosen; return the current one and those, the current one first."""
    runs = current_run.known_runs()
    overviews = {name: overview(other) for name, other in runs.items()}
    name_of = current_run.distinct_names(list(overviews.values()))
    others = {
        name: other
        for name, other in overviews.items()
        if name != run.id and not other.problem and other.state not in current_run.ALIVE
    }
    st.session_state["scores.beside"] = wanted(overviews[run.id], others)
    field, quick = st.columns([5, 1.2], vertical_alignment="bottom")
    beside = field.multiselect(
        "Beside it",
        list(others),
        format_func=lambda name: name_of.get(name, name),
        key="scores.beside",
        on_change=_chosen,
        max_selections=MOST,
        placeholder="choose runs to compare with",
        help="At first the bundled runs on the same data. The address names the chosen ones, so this view can be sent.",
    )
    same = [name for name, other in others.items() if other.data == overviews[run.id].data][:MOST]
    if same:
        quick.button(
            f"All {len(same)} on this data" if len(same) > 1 else "The one on this data",
            key="scores.all",
            on_click=put,
            args=(same,),
            disabled=set(same) <= set(beside),
            width="stretch",
        )
    return [in_full(runs[name], overviews[name], name_of[name]) for name in (run.id, *beside) if name in runs]


def alone(run: Run) -> Measured:
    """Return a run with its scores and nothing beside it."""
    entry = overview(run)
    return in_full(run, entry, entry.name)


def in_full(run: Run, entry: Overview, name: str) -> Measured:
    """Return a run with its scores."""
    method, data = (
        " · ".join(text for text in pair if text) for pair in ((entry.method, entry.region), (entry.data, entry.model))
    )
    return scores_table.measured(run, name, method, data)


def wanted(current: Overview, others: Mapping[str, Overview]) -> list[str]:
    """Return the runs that the address names, at first the bundled ones of the same data."""
    given = st.query_params.get("beside")
    if given is None:
        return [name for name, other in others.items() if other.bundled and other.data == current.data]
    return [name for name in dict.fromkeys(given.split(",")) if name in others][:MOST]


def put(names: Sequence[str]) -> None:
    """Write the chosen runs into the address."""
    st.query_params["beside"] = ",".join(names) or NOBODY


def _chosen() -> None:
    put(st.session_state["scores.beside"])
