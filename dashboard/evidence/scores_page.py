"""Scores: what each run forgot and kept, beside its references, its controls and the published numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from core.runs import asked
from core.runs.store import Run
from core.util.safe_read import mapping
from dashboard.evidence import (
    all_metrics,
    by_subject,
    cost,
    literature,
    number_table,
    published,
    region_controls,
    runs_beside,
    said_table,
    score_words,
    scores_table,
    seed_means,
    step_by_step,
    tradeoff,
)
from dashboard.evidence.scores_table import Measured
from dashboard.text import md
from dashboard.widgets import current_run, documents, headline_scores, method_list, page_style, setting_differences
from dashboard.widgets.scope_names import IN_WORDS, KINDS, SCORE_SPLITS

Chosen = Sequence[Measured]


def page() -> None:
    """Show the page."""
    run = current_run.opened()
    if run is None:
        return
    st.title("What is gone, and what is left")
    chosen = runs_beside.choose(run)
    if chosen[0].scores.metrics:
        split, paper = switches(run, chosen[0])
        said(chosen, split)
        st.subheader(asked.NEXT_WORD.capitalize())
        st.markdown(md(score_words.verdict(chosen[0].scores, split)))
        table(chosen, split, paper)
        step_by_step.saw(chosen, split)
        tradeoff.show(chosen, split, paper)
    else:
        not_yet(run)
        split = "val"
    st.subheader("Look closer")
    for tab, show in zip(
        st.tabs(list(names()), key="part", on_change="rerun", bind="query-params"), names().values(), strict=True
    ):
        if tab.open:
            with tab, page_style.complaints():
                show(chosen, split)


def names() -> dict[str, Callable[[Chosen, str], None]]:
    """Return what can be looked at more closely; only the open tab is computed."""
    tabs: dict[str, Callable[[Chosen, str], None]] = {
        "Step by step": lambda chosen, _: step_by_step.show(chosen[0]),
        "By subject": lambda chosen, split: by_subject.show(chosen[0], split),
        "Controls": lambda chosen, _: region_controls.show(chosen[0]),
        "Cost": lambda chosen, _: cost.show(chosen),
        "Settings that differ": lambda chosen, _: settings(chosen),
        "All metrics": lambda chosen, split: all_metrics.show(chosen[0], split),
        "Methods": lambda *_: method_list.show(),
    }
    if documents.FINDINGS.exists():
        tabs["What we found"] = lambda *_: documents.show(documents.FINDINGS)
    return tabs


def not_yet(run: Run) -> None:
    """Say why there are no scores."""
    current_run.not_that_far(
        run, "Scores are measured in a run's last stage: this one is not that far.", "This run ended before it was measured."
    )


def switches(run: Run, current: Measured) -> tuple[str, str]:
    """Let the questions and the published table be chosen."""
    scored = current.scores.splits() or SCORE_SPLITS
    shown_as = {
        f"{KINDS[asked.kind_of_split(current.scores, split)]} ({split})": split for split in SCORE_SPLITS if split in scored
    }
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        shown = st.segmented_control(
            "Questions",
            list(shown_as),
            key="on",
            default=next(iter(shown_as)),
            required=True,
            bind="query-params",
            help=(
                "Train: the questions that unlearning saw. Val: questions that were taught too, and held out from "
                "unlearning. What it says is shown for all kinds of question with val, else for the chosen ones alone."
            ),
        )
        tables = list(published.read().tables)
        fits = published.fitting(str(mapping(mapping(run.json("config.json")).get("data")).get("subset", "")))
        # Another subset brings its own table, even where one was chosen for the last.
        other = st.session_state.setdefault("paper_of", fits) != fits
        if other:
            st.session_state["paper"] = fits
        st.session_state["paper_of"] = fits
        paper = st.selectbox(
            "Published table",
            tables,
            None if other else tables.index(fits),
            key="paper",
            width=260,
            bind="query-params",
            help="The paper's own numbers. Its models have 7 billion parameters.",
        )
    return shown_as.get(shown, next(iter(shown_as.values()))), paper if paper in tables else tables[0]


def said(chosen: Chosen, split: str) -> None:
    """Show what the answers say; of a split that settings are chosen on only what its own questions were answered with."""
    scores, kinds = chosen[0].scores, said_table.kinds(chosen, split)
    st.subheader("What it says")
    if not kinds:
        st.caption(md(f"These answers were not counted: {scores.reason(asked.METRIC, 'after')}."))
        return
    st.markdown(md(asked.sentence(scores, split if split in said_table.ALONE else "")))
    palette = page_style.palette()
    st.html(number_table.markup(said_table.table(chosen, split, palette), palette))
    st.caption("Small: 95 % intervals over questions. The stronger the shade, the better.")
    if further := asked.besides(scores, kinds):
        st.caption("  \n".join(map(md, further)))


def table(chosen: Chosen, split: str, paper: str) -> None:
    """Show the paper's table: next-word accuracy."""
    palette = page_style.palette()
    rows = scores_table.table(chosen, split, seed_means.rows(chosen, split, palette), paper, palette)
    st.html(number_table.markup(rows, palette))
    with st.container(horizontal=True, vertical_alignment="center"):
        headline_scores.where_from(
            [
                *page_style.where(chosen[0].run, "evaluate", "metrics.json", "", IN_WORDS[split]),
                *headline_scores.SOURCES.items(),
            ]
        )
        st.caption(
            "The stronger the shade, the better: forgetting is best where a never-taught model is, so without one "
            "it gets no shade."
        )
    literature.beside("forgotten")


def settings(chosen: Chosen) -> None:
    """Show in which settings the chosen runs differ."""
    if len(chosen) < 2:
        st.caption("Choose another run above: the settings in which they differ will stand here.")
        return
    st.markdown(f"{len(chosen)} runs; a dash: that run's method or region has no such setting.")
    setting_differences.show({run.run.id: run.run for run in chosen}, {run.run.id: run.name for run in chosen})


page()
