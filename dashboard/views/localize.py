"""Localize: where the model keeps what it must forget, and which part of that unlearning may change."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import streamlit as st

from core import jobs, regions, store
from core.config import RunConfig
from core.errors import UserError
from core.regions import Located
from core.store import Run
from dashboard.charts import cell as cell_charts
from dashboard.charts import heatmap as heatmap_
from dashboard.charts.scatter import scatter
from dashboard.parts import look, runs, thresholds
from dashboard.parts.text import duration, md, number, shorten

if TYPE_CHECKING:
    import pandas as pd


SHOWN = 6  # questions listed for a cell


def page() -> None:
    """Show the page."""
    run = runs.pick()
    if run is None:
        runs.nothing_here()
        return
    if runs.unreadable(run):
        return
    st.title("Where the model keeps it")
    table = runs.table(run, "localization")
    if table is None or table.empty:
        not_yet(run)
        return
    st.markdown(
        "Each cell is one small weight matrix that was trained when the model learnt these facts. Outlined cells matter for "
        "what must be **forgotten** and little for what must be **kept**: unlearning changes these and no others."
    )
    config = run.config()
    # The picture comes first on a narrow screen, but needs what the controls say.
    picture, controls = st.columns([2.9, 1], gap="large")
    with controls, st.container(border=True):
        rule = thresholds.choose(table, config.region, run.id)
        region = select(rule, table)
        show_counts(run, table, region)
        offer_run(run, config, rule, table)
    with picture:
        chosen = explore(table, region)
    cut, inside = st.columns([1, 1], gap="large")
    with cut:
        show_cut(table, region, rule, chosen)
    with inside:
        show_numbers(table, region, chosen)
    show_inside(run, table, chosen)


def not_yet(run: Run) -> None:
    """Say why there is no picture."""
    state = run.status().get("state")
    if state in runs.ALIVE:
        st.info("This run has not measured its gradients yet. The picture appears here when that stage is done.")
    else:
        st.info("This run ended before its gradients were measured. Resume it, or choose another run above.")
    st.page_link("views/run.py", label="See the run", icon=":material/play_circle:", query_params={"run": run.id})


def select(rule: Located, table: pd.DataFrame) -> list[str]:
    """Apply the rule; an impossible one selects nothing."""
    with look.complaints():
        return rule.select(table)
    return []


def show_counts(run: Run, table: pd.DataFrame, region: list[str]) -> None:
    """Say how much the region is."""
    found = thresholds.counts(table, region, run.json("region.json"))
    model = "" if found.model is None else f", {found.model:.2f} % of the model"
    st.markdown(f"### {found.count} of {found.total} tensors")
    st.caption(f"{found.adapter:.1f} % of adapter parameters{model}")


def offer_run(run: Run, config: RunConfig, rule: Located, table: pd.DataFrame) -> None:
    """Offer to unlearn with this region."""
    try:
        regions.choose(rule, table)
    except UserError as error:
        st.button("Unlearn with this region", disabled=True, width="stretch", help=md(error))
        st.caption(md(error))
        return
    if st.button("Unlearn with this region", type="primary", width="stretch", icon=":material/play_arrow:"):
        with look.complaints():
            new = jobs.submit(
                dataclasses.replace(config, region=rule, name=f"{config.name} · new region"), store.runs_folder()
            )
            runs.open_run(new.id)
            st.session_state["next_tab"] = "This run"
            st.switch_page("views/run.py", query_params={"run": new.id})
    st.caption(cost(run))


def cost(run: Run) -> str:
    """Say what a run with another region re-uses and computes."""
    stages = (run.json("manifest.json") or {}).get("stages", {})
    seconds = {name: float(stage.get("seconds", 0)) for name, stage in stages.items()}
    rest = sum(seconds.get(name, 0) for name in ("unlearn", "answers", "evaluate"))
    text = "Same settings, this region."
    if run.bundled:
        return f"{text} Teaching and gradients come from the bundled run where this machine computes in the same way."
    return f"{text} Teaching and gradients are re-used{f'; the rest took {duration(rest)} last time' if rest else ''}."


def explore(table: pd.DataFrame, region: list[str]) -> str:
    """Show the heatmap with its controls; return the chosen cell."""
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    measure = left.segmented_control(
        "Colour", list(heatmap_.MEASURES), format_func=lambda key: heatmap_.MEASURES[key].label, default="cosine",
        key="measure", required=True, persist_state="session", wrap=True,
        help="  \n".join(f"**{m.label}**: {m.help}" for m in heatmap_.MEASURES.values()),
    )  # fmt: skip
    join = right.toggle("Join A and B", key="join", persist_state="session",
                        help="Each adapted module has two factors, A and B. Joined, they count as one long gradient.")  # fmt: skip
    st.caption(f"{heatmap_.MEASURES[measure].help} The bars count the outlined cells of each layer and module.")
    chosen = chosen_cell(table, region)
    fig = heatmap_.heatmap(table, measure, region, chosen, look.palette(), join=join)
    look.chart(
        fig,
        heatmap_.summary(table, measure, region),
        "heatmap",
        on_select=lambda: clicked("heatmap"),
        selection_mode="points",
    )
    return chosen


def clicked(key: str) -> None:
    """Make the clicked cell the chosen one."""
    points = st.session_state[key].selection.points
    names = [point["customdata"] for point in points if point.get("customdata")]
    if names:
        name = names[0][0] if isinstance(names[0], list) else names[0]
        st.session_state["cell"] = name


def chosen_cell(table: pd.DataFrame, region: list[str]) -> str:
    """Return the chosen cell: clicked, from the address, or the one that stands out most."""
    names = set(table["name"])
    for name in (st.session_state.get("cell"), st.query_params.get("cell")):
        if name in names:
            st.query_params["cell"] = name
            return str(name)
    inside = table[table["name"].isin(set(region))]
    ranked = (inside if len(inside) else table).sort_values("divergence", ascending=False)
    return str(ranked["name"].iloc[0])


def show_cut(table: pd.DataFrame, region: list[str], rule: Located, chosen: str) -> None:
    """Show what the thresholds cut out."""
    st.subheader("What the thresholds cut out")
    with look.complaints():
        mu, sigma = rule.limits(table)
        fig = scatter(table, region, mu, sigma, chosen, look.palette())
        alt = f"{len(region)} tensors have a cosine below {mu:.2f} and a forget gradient above {number(sigma)}."
        look.chart(fig, alt, "scatter", on_select=lambda: clicked("scatter"), selection_mode="points")


def show_numbers(table: pd.DataFrame, region: list[str], chosen: str) -> None:
    """Let the cell be chosen by name, and show its numbers."""
    st.subheader("One cell")
    row = table[table["name"] == chosen].iloc[0]
    st.session_state["layer"], st.session_state["module"] = int(row["layer"]), row["module"]
    st.session_state["factor"] = row["factor"]
    layer, module, factor = st.columns([1, 2, 1])
    choose = {"on_change": by_name, "args": (table,)}
    layer.selectbox("Layer", sorted(set(table["layer"])), key="layer", **choose)
    module.selectbox("Module", list(dict.fromkeys(table["module"])), key="module", **choose)
    factor.selectbox("Factor", sorted(set(table["factor"])), key="factor", **choose)
    within = chosen in region
    st.markdown(":orange-badge[:material/check: in the region]" if within else ":gray-badge[outside the region]")
    with st.grid(2, min_column_width=130, gap="small"):
        st.metric(
            "Cosine", f"{row['cos']:.3f}" if row["has_gradient"] else "no gradient", help=heatmap_.MEASURES["cosine"].help
        )
        st.metric("Divergence", number(row["divergence"]), help=heatmap_.MEASURES["divergence"].help)
        st.metric("Forget gradient", number(row["mag_unlearn"]), help=heatmap_.MEASURES["forget"].help)
        st.metric("Retain gradient", number(row["mag_retain"]), help=heatmap_.MEASURES["retain"].help)
    st.caption(f"{row['rows']} × {row['columns']} = {row['rows'] * row['columns']:,} parameters")


def by_name(table: pd.DataFrame) -> None:
    """Take the cell that the three boxes name; where there is none, the nearest: same layer and module."""
    state = st.session_state
    same = table[(table["layer"] == state["layer"]) & (table["module"] == state["module"])]
    exact = same[same["factor"] == state["factor"]]
    found = exact if len(exact) else same
    if len(found):
        state["cell"] = str(found["name"].iloc[0])


def show_inside(run: Run, table: pd.DataFrame, chosen: str) -> None:
    """Show a cell's histogram, profiles and the questions that drive it."""
    st.subheader("Inside this cell")
    left, right = st.columns([1, 1], gap="large")
    with left:
        detail = runs.detail(run)
        if detail is None:
            st.caption("This run recorded no details of its cells (detail.npz is missing).")
        else:
            show_detail(detail, int(table.index[table["name"] == chosen][0]))
    with right:
        show_questions(run, chosen)


def show_detail(detail: dict[str, Any], number_: int) -> None:
    """Show the distribution and the profiles of a cell."""
    palette, found = look.palette(), cell_charts.take(detail, number_)
    histogram, rows, columns = st.tabs(["Distribution", "Rows", "Columns"], key="detail", on_change="rerun")
    if histogram.open:
        with histogram:
            look.chart(
                cell_charts.histogram(found, palette), "Distribution of element gradients of both scopes", "histogram"
            )
    for tab, side in ((rows, "row"), (columns, "column")):
        if tab.open:
            with tab:
                look.chart(cell_charts.profile(found, side, palette), f"Root mean square gradient of each {side}", side)


def show_questions(run: Run, chosen: str) -> None:
    """List the questions that drive a cell most."""
    st.markdown(
        "**Questions that drive it most**", help="Share of this cell's forget gradient that comes from each question."
    )
    shares = runs.table(run, "contributions")
    mine = shares[shares["name"] == chosen] if shares is not None else None
    if mine is None or mine.empty:
        st.caption("Not recorded for this cell.")
        return
    texts = {row.get("example"): row.get("question", "") for row in runs.answers(run)}
    best = mine.head(SHOWN)
    for example, share in zip(best["example"], best["share"], strict=True):
        question = md(shorten(str(texts.get(example) or example), 110))
        st.markdown(f":gray[{100 * share:.1f} %] &nbsp; {question}")


page()
