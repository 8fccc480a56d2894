"""The view "All runs": one table, and what can be done with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from core.runs.overview import Overview, overview
from dashboard import pages
from dashboard.runs import archive, chosen_runs, runs_table, trash
from dashboard.text import md
from dashboard.widgets import current_run, glossary, page_style


def show() -> None:
    """Show the view."""
    runs = current_run.known_runs()
    if not runs:
        empty()
        return
    current_run.stay()
    overviews = [overview(run) for run in runs.values()]
    head(overviews)
    archive.complaint()
    trash.show()
    busy(overviews)
    name_of = current_run.distinct_names(overviews)
    visible, shown = chooser(overviews)
    if not visible:
        st.info("No run is like that. Take a word or a filter away.", icon=":material/search_off:")
    else:
        wanted = [name for name in runs_table.chosen_ids() if name in runs]
        runs_table.show(visible, shown, wanted, page_style.palette(), st.session_state.get("runs.version", 0))
        colour = (
            "The stronger the colour, the better."
            if len(visible) <= runs_table.SHADED
            else f"Up to {runs_table.SHADED} rows are coloured: narrow the list down."
        )
        st.caption(
            f"{colour} “Said” and “{glossary.link('gibberish')}” count answers. The percentages are "
            f"{glossary.link('next-word accuracy')}: Unlearn Success ({glossary.link('U')}) is best where a "
            f"{glossary.link('never taught', 'never-taught')} model is, Retention Success ({glossary.link('R')}) at 100 %."
        )
    broken(visible)
    chosen = by_name(overviews, name_of)
    if chosen:
        tags = sorted({tag for run in overviews for tag in run.label.tags})
        chosen_runs.show(chosen, runs, tags, name_of)
    elif visible:
        st.caption("Mark rows in the table, or choose runs by name, to open, name, compare, export or delete them.")


def empty() -> None:
    """Say what to do where there is no run at all."""
    current_run.nothing_here()
    st.markdown("Or take one in that somebody exported:")
    archive.upload()
    archive.complaint()
    trash.show()


def busy(overviews: Sequence[Overview]) -> None:
    """Say what is at work or waits, with a link to where it is seen."""
    if living := sum(run.state in current_run.ALIVE for run in overviews):
        words = "One run is" if living == 1 else f"{living} runs are"
        st.page_link(
            pages.RUNS.script,
            label=f"{words} at work or waiting: see the queue",
            icon=":material/schedule:",
            query_params={"view": pages.QUEUE},
        )


def head(overviews: Sequence[Overview]) -> None:
    """Show what there is in one line, and how to get more."""
    title, actions = st.columns([3, 2], vertical_alignment="bottom")
    with title:
        st.title("Runs")
        mine = [run for run in overviews if not run.bundled]
        if mine:
            size = sum(run.size for run in mine) / 1e9
            st.caption(f"{len(mine)} of your own, {size:.2f} GB · {len(overviews) - len(mine)} bundled")
        else:
            st.caption("These ship with Forgetscope. Runs that you start or import will stand here too.")
    with actions, st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        st.page_link(pages.RUNS.script, label="New run", icon=":material/add:", query_params={"view": pages.NEW_RUN})
        archive.upload()


def chooser(overviews: Sequence[Overview]) -> tuple[list[Overview], str]:
    """Show search, filters, order and columns; return the visible runs and the columns' name."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(
            "Search", key="q", bind="query-params", icon=":material/search:", placeholder="name, tag, note …", width=260
        )
        active = sum(bool(st.session_state.get(key)) for key in ("state", "method", "data"))
        with st.popover(f"Filter ({active})" if active else "Filter", icon=":material/filter_list:"):
            states, methods, data = (
                st.multiselect(
                    name.title(), sorted({getattr(run, name) for run in overviews} - {""}), key=name, bind="query-params"
                )
                for name in ("state", "method", "data")
            )
        order = st.selectbox(
            "Order",
            runs_table.ORDERS,
            key="order",
            bind="query-params",
            width=230,
            help="Pinned runs stand first. A click on a column's head sorts as well.",
        )
        shown = st.segmented_control(
            "Columns", runs_table.SHOWN, key="columns", default="Scores", required=True, bind="query-params"
        )
    visible = runs_table.ordered(runs_table.matching(overviews, words or "", states, methods, data), order)
    if len(visible) != len(overviews):
        st.caption(f"{len(visible)} of {len(overviews)} runs")
    return visible, shown


def by_name(overviews: Sequence[Overview], name_of: Mapping[str, str]) -> list[Overview]:
    """Show the chosen runs in a field that also works by keyboard; return them in the order they were chosen."""
    there = {run.id: run for run in overviews}
    st.session_state["runs.chosen"] = [name for name in runs_table.chosen_ids() if name in there]
    chosen = st.multiselect(
        "Chosen runs",
        list(there),
        format_func=lambda name: name_of.get(name, name),
        key="runs.chosen",
        on_change=_by_name,
        placeholder="by name, or mark rows above",
    )
    return [there[name] for name in chosen]


def _by_name() -> None:
    runs_table.remember(st.session_state["runs.chosen"])
    st.session_state["runs.version"] = st.session_state.get("runs.version", 0) + 1


def broken(visible: Sequence[Overview]) -> None:
    """List the runs that cannot be read, with the reason."""
    bad = [run for run in visible if run.problem]
    if not bad:
        return
    what = "One run cannot be read" if len(bad) == 1 else f"{len(bad)} runs cannot be read"
    with st.expander(what, icon=":material/help:", expanded=len(bad) <= 3):
        for run in bad[:50]:
            st.markdown(f"**{md(run.name)}**  \n{md(run.problem)}")
        if len(bad) > 50:
            st.caption(f"… and {len(bad) - 50} more")
