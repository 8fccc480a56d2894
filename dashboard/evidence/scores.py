"""The parts of Evidence that say it in numbers: scores, trade-off, steps, cost and metrics."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.config import published as published_settings
from core.config.run_config import flat
from core.runs import asked
from core.runs.store import Run
from core.util.errors import UserError
from core.util.safe_read import mapping
from dashboard.evidence import (
    all_metrics,
    cost,
    other_benchmarks,
    published,
    runs_beside,
    said_table,
    score_words,
    scores_table,
    seed_means,
    step_by_step,
    taught_without,
    tradeoff,
)
from dashboard.evidence.scores_table import Measured
from dashboard.text import md
from dashboard.widgets import (
    current_run,
    glossary,
    headline_scores,
    literature,
    number_table,
    page_style,
    setting_differences,
)
from dashboard.widgets.scope_names import IN_WORDS, KINDS, SCORE_SPLITS

Chosen = Sequence[Measured]


def show(run: Run) -> None:
    """Show what the answers say and the paper's table, of the run and those beside it."""
    chosen = runs_beside.choose(run)
    if not_yet(chosen[0]):
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        split = questions(chosen[0])
        paper = published_table(run)
    said(chosen, split)
    st.subheader(asked.NEXT_WORD.capitalize(), help=glossary.help_text("next-word accuracy", "U", "R", "retrained"))
    st.markdown(md(score_words.verdict(chosen[0].scores, split)))
    table(chosen, split, paper)
    taught_without.show(run, chosen[0].scores)
    step_by_step.saw(chosen, split)
    with st.expander("Settings that differ", icon=":material/difference:", key="settings.open", on_change="rerun") as box:
        if box.open:
            settings(chosen)


def trade_off(run: Run) -> None:
    """Show forgetting against keeping, of the run and those beside it."""
    chosen = runs_beside.choose(run)
    if not_yet(chosen[0]):
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        split = questions(chosen[0])
        paper = published_table(run)
    tradeoff.show(chosen, split, paper)
    step_by_step.saw(chosen, split)


def steps(run: Run) -> None:
    """Show what the run would be had it stopped elsewhere."""
    step_by_step.show(runs_beside.alone(run))


def costs(run: Run) -> None:
    """Show what unlearning cost, of the run and those beside it."""
    cost.show(runs_beside.choose(run))


def metrics(run: Run) -> None:
    """Show every metric of the run."""
    current = runs_beside.alone(run)
    if not not_yet(current):
        split = questions(current)
        all_metrics.show(current, split)
        other_benchmarks.show(run)
        step_by_step.saw([current], split)


def not_yet(current: Measured) -> bool:
    """Say why there are no scores, where that is so."""
    if current.scores.metrics:
        return False
    current_run.not_that_far(
        current.run,
        "Scores are measured in a run's last stage: this one is not that far.",
        "This run ended before it was measured.",
    )
    return True


def questions(current: Measured) -> str:
    """Let the questions be chosen whose scores are shown; return their split."""
    scored = current.scores.splits() or SCORE_SPLITS
    shown_as = {
        f"{KINDS[asked.kind_of_split(current.scores, split)]} ({split})": split for split in SCORE_SPLITS if split in scored
    }
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
    return shown_as.get(shown, next(iter(shown_as.values())))


def published_table(run: Run) -> str:
    """Let one of the paper's tables be chosen; another subset brings its own, even where one was chosen for the last."""
    tables = list(published.read().tables)
    fits = published.fitting(str(mapping(mapping(run.json("config.json")).get("data")).get("subset", "")))
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
    return paper if paper in tables else tables[0]


def said(chosen: Chosen, split: str) -> None:
    """Show what the answers say; of a split that settings are chosen on only what its own questions were answered with."""
    scores, kinds = chosen[0].scores, said_table.kinds(chosen, split)
    if not kinds:
        st.caption(md(f"These answers were not counted: {scores.reason(asked.METRIC, 'after')}."))
        return
    if split in said_table.ALONE:
        st.markdown(md(asked.sentence(scores, split)))
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
    against_the_published(chosen[0].run, paper)
    literature.beside("forgotten")


def against_the_published(run: Run, paper: str) -> None:
    """Show which of a run's settings are not those behind the published table, and what no setting makes alike."""
    try:
        own = flat(run.config().to_json())
    except UserError:
        return
    rows = published_settings.differing(published_settings.TABLES[paper], own)
    what = f"{len(rows)} of its settings are not the published ones" if rows else "Its settings are the published ones"
    with st.expander(what, icon=":material/difference:", key="published.open", on_change="rerun") as box:
        if box.open:
            shown = [{"setting": path, "published": str(value), "here": str(mine)} for path, value, mine in rows]
            st.table(
                [{key: md(text) for key, text in row.items()} for row in shown],
                border="horizontal",
                hide_index=True,
                alt="Settings that are not the published ones",
            )
            st.markdown("\n".join(f"- {md(text)}" for text in published_settings.OWN))


def settings(chosen: Chosen) -> None:
    """Show in which settings the chosen runs differ."""
    if len(chosen) < 2:
        st.caption("Choose another run above: the settings in which they differ will stand here.")
        return
    st.markdown(f"{len(chosen)} runs; a dash: that run's method or region has no such setting.")
    setting_differences.show({run.run.id: run.run for run in chosen}, {run.run.id: run.name for run in chosen})
