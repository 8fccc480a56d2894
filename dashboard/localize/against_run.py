"""One localization against another run's: both maps, their difference, overlap against chance, stability over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.config import run_config
from core.regions.overlap import Overlap, aligned, overlap, rank_correlation
from core.runs import overview
from core.runs.store import Run
from core.util.errors import UserError
from dashboard import pages
from dashboard.charts import differences
from dashboard.localize import side_by_side
from dashboard.localize.side_by_side import Side
from dashboard.text import md
from dashboard.widgets import address, current_run, page_style, setting_differences
from dashboard.widgets.plot import columns_of

if TYPE_CHECKING:
    import pandas as pd

    from dashboard.localize.opened import Opened

STAGES = ("seed", "model", "data", "teach", "localize", "region")
"""of a configuration: what a localization depends on"""
JACCARD = "Tensors in both regions as a share of the tensors in either: 1 is the same region, 0 has nothing in common."
RANKS = (
    "Spearman's rank correlation over the tensors with a gradient in both runs: 1 puts them in the same order, 0 has "
    "nothing to do with it."
)


def show(page: Opened, measure: str, *, factors: bool) -> None:
    """Let another run be chosen, and compare. measure, factors: how the map above is coloured, and what its rows are."""
    run = page.run
    others = {
        name: other
        for name, other in current_run.known_runs().items()
        if name != run.id and (other.path / "localization.parquet").exists()
    }
    if not others:
        st.caption("There is no other run with gradients yet. Start one with another seed: is the same region found again?")
        st.page_link(
            pages.RUNS.script,
            label="Same again, with another seed",
            icon=":material/replay:",
            query_params={"run": run.id, "view": pages.NEW_RUN, "again": run.id},
        )
        return
    address.take("other", others)
    name = st.selectbox(
        "Other run",
        ["", *others],
        key="other",
        format_func=lambda key: current_run.label(others[key]) if key else "choose a run",
    )
    address.keep("other", name)
    if not name:
        st.caption("Both maps side by side, how many tensors both select, and whether that is more than chance.")
        return
    other = others[name]
    theirs, recorded = current_run.table(other, "localization"), other.json("region.json")
    if theirs is None or not isinstance(recorded, dict):
        st.info("That run has no region yet.")
        return
    with page_style.complaints():
        mine = Side(run, page.table, page.region, page.own)
        compare(mine, Side(other, theirs, recorded["tensors"], own=True), measure, factors=factors)
    stability(run, page.table, page.region)


def compare(mine: Side, other: Side, measure: str, *, factors: bool) -> None:
    """Show how two localizations agree. Raises UserError where they cannot be compared."""
    first, second = aligned(mine.table, other.table)
    region, their_region = mine.region, other.region
    overlap = agreement(first, second, region, their_region)
    live = in_both(first, second)
    st.markdown(differing(mine.run, other.run))
    with st.grid(4, min_column_width=150, gap="small"):
        st.metric(
            "Jaccard",
            f"{overlap.jaccard:.2f}",
            f"chance {overlap.chance:.2f}",
            delta_color="off",
            delta_arrow="off",
            help=JACCARD,
        )
        st.metric(
            "In both", f"{overlap.both}", f"of {overlap.first} and {overlap.second}", delta_color="off", delta_arrow="off"
        )
        for label, column in (("Ranks: shared", "cos"), ("Ranks: pull to forget", "mag_unlearn")):
            ranks = rank_correlation(first.loc[live, column], second.loc[live, column])
            st.metric(label, "–" if math.isnan(ranks) else f"{ranks:.2f}", help=RANKS)
    st.markdown(verdict(overlap))
    sides = replace(mine, table=first), replace(other, table=second)
    side_by_side.show(sides, measure, factors=factors)
    kind = st.segmented_control(
        "Difference of",
        list(differences.KINDS),
        format_func=differences.KINDS.get,
        default="cosine",
        key="difference",
        required=True,
        bind="query-params",
    )
    both = (region, their_region)
    fig = differences.difference(first, second, kind, both, page_style.palette(), join=not factors)
    facts = page_style.where(
        mine.run,
        "localize",
        "localization.parquet of both runs",
        "this − other; magnitudes as log10 of their ratio" if kind != "region" else "membership in both regions",
    )
    page_style.chart(
        fig,
        f"Difference of {differences.KINDS[kind]} between this run and {other.run.id}",
        "difference_map",
        facts=[*facts, ("Other run", other.run.id)],
        columns=columns_of(differences.numbers(first, second, kind, both)),
    )


def in_both(first: pd.DataFrame, second: pd.DataFrame) -> pd.Series:
    """Tell which tensors of two aligned tables both runs could choose: those with a gradient in both."""
    return first["has_gradient"] & second["has_gradient"]


def agreement(first: pd.DataFrame, second: pd.DataFrame, region: Sequence[str], their_region: Sequence[str]) -> Overlap:
    """Compare two regions on the tensors that both runs could choose."""
    could = set(first.loc[in_both(first, second), "name"])
    return overlap(could.intersection(region), could.intersection(their_region), len(could))


def verdict(overlap: Overlap) -> str:
    """Say in words whether two regions agree more than chance."""
    sizes = f"Two random regions of {overlap.first} and {overlap.second} out of {overlap.total} tensors"
    if overlap.as_large_by_chance < 0.01:
        p = "less than 1 in 10,000" if overlap.as_large_by_chance < 1e-4 else f"{100 * overlap.as_large_by_chance:.2f} %"
        return (
            f"**More than chance.** {sizes} share at least that many in {p} of all draws; {overlap.chance:.2f} is what "
            "chance gives."
        )
    p = f"{100 * overlap.as_large_by_chance:.0f} %"
    judgement = "Hard to tell from chance" if overlap.as_large_by_chance < 0.05 else "No more than chance"
    return f"**{judgement}.** {sizes} share at least that many in {p} of all draws."


def stability(run: Run, table: pd.DataFrame, region: Sequence[str]) -> None:
    """List every run that differs in the seed only, with the overlap of its region with this run's own."""
    rows: list[dict[str, Any]] = []
    mine = run.json("region.json")
    own = mine["tensors"] if isinstance(mine, dict) else region
    for name, other in current_run.known_runs().items():
        if name == run.id or what_differs(run, other) != ["seed"]:
            continue  # before its table is read: there may be hundreds of runs
        recorded, theirs = other.json("region.json"), current_run.table(other, "localization")
        if not isinstance(recorded, dict) or theirs is None:
            continue
        try:
            overlap = agreement(*aligned(table, theirs), own, recorded["tensors"])
        except UserError:
            continue  # nothing in common, or an empty region: no row to show
        rows.append(
            {
                "Run": name,
                "Seed": other.config().seed,
                "In both": overlap.both,
                "Jaccard": round(overlap.jaccard, 3),
                "Chance": round(overlap.chance, 3),
            }
        )
    if rows:
        st.markdown("**Stability: the same settings with other seeds**")
        st.dataframe(rows, hide_index=True, alt="Overlap of this region with those of other seeds")
        if set(own) != set(region):
            st.caption("Compared is the region that this run was unlearned on, not the one that you see chosen above.")


def differing(first: Run, second: Run) -> str:
    """Say in which settings two runs differ that a localization depends on, and what each of them has."""
    if not settings(first) or not settings(second):
        return f"What differs between the runs: {md(', '.join(what_differs(first, second)))}."
    rows = setting_differences.setting_rows({"here": settings(first), "there": settings(second)})
    said = [
        f"{name.replace('_', ' ').replace('.', ' › ')} {cells['here']} here, {cells['there']} there"
        for name, cells in rows.items()
        if not name.startswith("region.")
    ]
    if any(name.startswith("region.") for name in rows):
        said.append("the region, as said above each map")
    return f"What differs between the runs: {md('; '.join(said)) if said else 'nothing that a localization depends on'}."


def what_differs(first: Run, second: Run) -> list[str]:
    """Return the settings, other than the name, in which two runs differ and that a localization depends on."""
    configs = [settings(first), settings(second)]
    return list(run_config.differences(configs)) if all(configs) else ["an unreadable configuration"]


def settings(run: Run) -> dict[str, Any]:
    """Return the settings of a run that a localization depends on; empty where they cannot be read."""
    # Not as the file has them: one that is older than a setting means its default.
    config = overview.readable(run)
    return {stage: config.get(stage) for stage in STAGES} if config else {}
