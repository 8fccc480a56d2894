"""Localize: where the model keeps what it must forget, and which part of that unlearning may change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import streamlit as st

from core import regions
from core.jobs import controls as controls_
from core.models import cells as cells_
from core.regions import Located, Region
from core.regions.matched import matched
from core.runs import store
from core.runs.store import Run
from core.util.errors import UserError
from dashboard import pages
from dashboard.charts import heatmap as heatmap_
from dashboard.charts import separability as separability_
from dashboard.charts.scatter import scatter
from dashboard.localize import (
    against_run,
    first_screen,
    handpicked,
    heatmap_explorer,
    one_cell,
    planted_truth,
    region_controls,
    selection_state,
    thresholds,
)
from dashboard.text import duration, md, number
from dashboard.widgets import address, audit, current_run, glossary, page_style, selection
from dashboard.widgets.plot import columns_of
from dashboard.widgets.selection import Selection

if TYPE_CHECKING:
    import pandas as pd
    from streamlit.delta_generator import DeltaGenerator


def page() -> None:
    """Show the page."""
    run = current_run.opened()
    if run is None:
        return
    st.title("Is it gone, and what was lost?")
    if run.config().audit.after:
        audit.show(run)
        return
    table = with_changes(run)
    if table is None or table.empty:
        not_yet(run)
        return
    if not table["has_gradient"].any():
        st.warning(
            "No tensor of this run has a gradient for both scopes, so nothing can be located.", icon=":material/block:"
        )
        return
    first_screen.show(run)
    start = selection.own(run.config().region, (run.json("region.json") or {}).get("tensors", ()))
    chosen = selection_state.open_page(run.id, table, start)
    region, source = (
        select(chosen, table),
        None if chosen.hand is None else selection.origin(chosen, start, run.config().region),
    )
    st.subheader("Which weights were changed")
    st.markdown(opening(source, fresh=run.config().unlearn.slots > 0))
    measure, scale = measures(run, table)
    # Both plots are sent before the many controls, so that they are seen, or repainted, sooner.
    picture, side = st.columns([2.1, 1], gap="large")
    with picture:
        grid(run, table, region, start, measure, scale)
    with side:
        cut(run, table, region, start, source)
        controls(run, table, region, start)
    with picture:
        st.subheader("One cell")
        one_cell.numbers(run, table, region, one_cell.chosen_cell(table, region))
    drill_down(run, table, region)
    st.subheader("Against another run")
    against_run.show(run, table, region)
    part(run, "controls", "Controls: would other regions have done as well?", ":material/science:", region_controls.show)
    planted = "Planted truth: does a score find what was put there?"
    part(run, "planted", planted, ":material/potted_plant:", planted_truth.show)


def part(run: Run, key: str, title: str, icon: str, show: Callable[[Run], None]) -> None:
    """Show a part that is closed until somebody opens it; whether it is open is in the address."""
    box = st.expander(title, icon=icon, key=key, on_change="rerun", bind="query-params")
    if box.open:
        with box, page_style.complaints():
            show(run)


def opening(source: str | None, *, fresh: bool) -> str:
    """Say what is seen, and what is outlined. source: which cells these are, None for those of the thresholds.

    fresh: whether unlearning leaves what was taught as it is, and trains fresh weights beside it.
    """
    rule = (
        f"the pull to **forget** is strong (above {glossary.link('σ')}) and little of it is shared with what is "
        f"**kept** ({glossary.link('cosine')} below {glossary.link('μ')})"
    )
    how = f"adds {glossary.link('fresh rank', 'fresh weights')} to" if fresh else "changes"
    return (
        f"Each cell is one small weight matrix. Outlined is the {glossary.link('region')}: "
        f"{rule if source is None else md(source)}. Unlearning here {how} these and no others."
    )


def with_changes(run: Run) -> pd.DataFrame | None:
    """Return the localization table, with how far unlearning moved each cell where that is known."""
    table, changes = current_run.table(run, "localization"), current_run.table(run, "changes")
    if table is None or changes is None:
        return table
    norms = changes.set_index("name")[["norm_before", "norm_change"]]
    return table.assign(**{str(column): table["name"].map(values) for column, values in norms.items()})


def not_yet(run: Run) -> None:
    """Say why there is no picture."""
    current_run.not_that_far(
        run,
        "This run has not measured its gradients yet. The picture appears here when that stage is done.",
        "This run ended before its gradients were measured. Resume it, or choose another run above.",
    )


def select(chosen: Selection, table: pd.DataFrame) -> list[str]:
    """Apply the selection; an impossible one selects nothing."""
    with page_style.complaints():
        return chosen.select(table)
    return []


def measures(run: Run, table: pd.DataFrame) -> tuple[str, DeltaGenerator]:
    """Show what the heatmap can be coloured by; return the choice, and the place of what else it can be set to.

    It opens on the score that finds planted truth, where it was computed; a run by the paper's rule opens on the cosine.
    """
    shown = {m.label: key for key, m in heatmap_.MEASURES.items() if not m.column or m.column in table}
    scored = "held" in shown.values() and run.config().region.name != Located.name
    first = heatmap_.MEASURES["held" if scored else "cosine"].label
    # Who chose none sees each run as it opens.
    if st.session_state.get(MEASURE) == st.session_state.get("measure_first") and MEASURE not in st.query_params:
        st.session_state.pop(MEASURE, None)
    st.session_state["measure_first"] = first
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        chosen = address.part(
            MEASURE,
            [first, *(label for label in shown if label != first)],
            lambda: st.segmented_control(
                "Colour",
                list(shown),
                key=MEASURE,
                required=True,
                wrap=True,
                width="content",
                label_visibility="collapsed",
            ),
        )
        scale: DeltaGenerator = st.popover("Scale and overlay", icon=":material/tune:")
    return shown[chosen], scale


MEASURE = "measure"
"""parameter of the address; its value is the measure's label"""


def grid(run: Run, table: pd.DataFrame, region: list[str], start: Selection, measure: str, scale: DeltaGenerator) -> None:
    """Show the heatmap, coloured by a measure. scale: the place of what else it can be set to."""
    with scale:
        join = st.toggle(
            "Join A and B",
            key="join",
            bind="query-params",
            help=(
                "Each adapted module has two factors, A and B. Joined, they count as one long gradient; a click takes "
                f"both.  \n{glossary.help_text('A')}"
            ),
        )
        linear = st.toggle(
            "Linear colours",
            key="linear",
            bind="query-params",
            help="Otherwise logarithmic. What is shared is always linear.",
        )
        intensity = st.slider(
            "Intensity",
            0.2,
            3.0,
            1.0,
            0.1,
            key="intensity",
            bind="query-params",
            help="Above 1 brings out small values, below 1 only the largest. Not of what is shared.",
        )
        number_of = st.number_input(
            "Random region",
            0,
            controls_.DRAWS,
            key="random",
            bind="query-params",
            help="0: none. Otherwise dotted: as many tensors of each module, factor and band of layers, drawn at random. "
            "Of the run's own region, the controls below train on the same ones.",
        )
    separability = separability_.usable(current_run.table(run, "separability"))
    other, palette = random_region(table, region, number_of), page_style.palette()
    fig = heatmap_.heatmap(
        table,
        measure,
        region,
        one_cell.chosen_cell(table, region),
        palette,
        join=join,
        ruler=heatmap_.Ruler(not linear, intensity),
        separability=separability,
        other=other,
    )
    shown = cells_.joined(table) if join else table
    layers = cells_.layout(shown).layers
    heatmap_explorer.heat(
        heatmap_explorer.Picture(
            fig,
            f"{heatmap_.summary(table, measure, region)} {separability_.summary(separability, layers)}".strip(),
            facts(run, measure, separability),
            as_columns(table, region),
        ),
        shared(table),
        heard(table, shown, start),
        heatmap_explorer.Colours(measure, logarithmic=not linear, layers=layers, accent=palette.accent, ink=palette.text),
    )
    handpicked.mode()
    if words := planted_truth.sentence(run, measure, by_rule=selection_state.current().by == "thresholds"):
        st.markdown(md(words))
    chosen = selection_state.current().selection
    also = also_changed(table, region) if measure == "change" else ""
    if other:
        also += (
            f" Dotted: random region {number_of}; {len(set(other) & set(region))} of its {len(other)} tensors are selected."
        )
    st.caption(
        "  \n".join(legend(measure, chosen, separability, also)),
        help=separability_.help_text(separability) if separability is not None else None,
    )


def legend(measure: str, chosen: Selection, strip: pd.DataFrame | None, also: str) -> list[str]:
    """Say below the picture what its colours, outlines and bars are. also: what there is to add about the colours."""
    colour = heatmap_.MEASURES[measure]
    handle = " The handle on the colour bar is the threshold (μ)." if measure == "cosine" and chosen.hand is None else ""
    line = f" {separability_.said(strip)}" if strip is not None else ""
    return [
        f"**{colour.label}**: {colour.help}{also}",
        f"Outlined: selected. Bars: selected tensors of each layer and module.{handle}{line}",
    ]


def random_region(table: pd.DataFrame, region: list[str], number_of: int) -> tuple[str, ...]:
    """Return the tensors of a random region like the selected one, as the controls draw it, counted from 1; none for 0."""
    if number_of:
        with page_style.complaints():
            return matched(table, region, number_of - 1)
    return ()


def also_changed(table: pd.DataFrame, region: list[str]) -> str:
    """Say how many tensors the run changed that are not selected now; nothing where there is none."""
    others = int(((table["norm_change"] > 0) & ~table["name"].isin(set(region))).sum())
    return f" This run also changed {others} tensors that are not selected now." if others else ""


FORMULAS = {
    "cosine": "cos = ⟨G_U, G_R⟩ / (|G_U| |G_R|), G the mean gradient of a scope towards random answers (paper, section 3.3)",
    "forget": "mean |G_U| over the tensor's elements",
    "retain": "mean |G_R| over the tensor's elements",
    "divergence": "(1 − cos) · mean |G_U|",
    "held": "⟨M_U − M_R, ΔW⟩ of the module, M the gradient of the margin of a scope's fact tokens",
    "region": "the rule beside the picture, applied to the same statistics",
    "change": "Frobenius norm of after − before",
}


def facts(run: Run, measure: str, strip: pd.DataFrame | None) -> list[tuple[str, str]]:
    """Return where the heatmap's numbers are from, and those of the strip above it where there is one."""
    stage, file = ("unlearn", "changes.parquet") if measure == "change" else ("localize", "localization.parquet")
    return page_style.where(run, stage, file, FORMULAS[measure]) + (
        [("Line on top", separability_.formula(strip))] if strip is not None else []
    )


def as_columns(table: pd.DataFrame, region: list[str]) -> dict[str, list[Any]]:
    """Return what the CSV of the heatmap holds: every tensor with every number."""
    return columns_of(table.assign(selected=table["name"].isin(set(region))))


def picked(click: dict[str, Any], table: pd.DataFrame, shown: pd.DataFrame) -> None:
    """React to a click or a box: choose a cell to look at; in the mode for it, edit the region."""
    tensors = set(table["name"])
    if click.get("cell") in tensors:
        st.session_state["cell"] = click["cell"]
        names = cells_.tensors_of(click["cell"], shown, table)["name"].tolist()
        what = cells_.called(shown[shown["name"] == click["cell"]].iloc[0])
    elif "brushed" in click:
        st.session_state["brushed"] = [name for name in click["brushed"] if name in tensors]
        return
    elif "layer" in click:
        what, names = cells_.at(click["layer"]), table.loc[table["layer"] == click["layer"], "name"].tolist()
    else:
        rows = {position: key for key, position in cells_.layout(shown).rows.items()}
        factor, module = rows.get(int(click.get("row", -1)), ("", ""))
        same = table["module"] == module
        what = cells_.short(module) + (f" {factor}" if factor != cells_.JOINED else "")
        names = table.loc[same if factor == cells_.JOINED else same & (table["factor"] == factor), "name"].tolist()
    if selection_state.current().editing:
        handpicked.toggle(what, names, table)


def cut(run: Run, table: pd.DataFrame, region: list[str], start: Selection, source: str | None) -> None:
    """Show what the thresholds cut out, with both lines to drag; or, where something else selected it, the region alone."""
    with page_style.complaints():
        link, by_rule, palette = shared(table), source is None, page_style.palette()
        lines = (link.mu, link.sigma) if by_rule else None
        fig = scatter(table, region, lines, one_cell.chosen_cell(table, region), palette)
        words = f"are shared below {link.mu:.2f} (cosine) and have a pull to forget above {number(link.sigma)}"
        join = bool(st.session_state.get("join"))
        layout = cells_.layout(cells_.joined(table) if join else table)
        keys = table.assign(factor=cells_.JOINED) if join else table
        heatmap_explorer.scatter(
            heatmap_explorer.Picture(
                fig,
                f"{len(region)} tensors {words if by_rule else f'are selected: {source}'}.",
                page_style.where(run, "localize", "localization.parquet", FORMULAS["cosine"]),
            ),
            link,
            heard(table, table, start),
            heatmap_explorer.statistics(table, *layout.positions(keys)),
            palette,
        )


def shared(table: pd.DataFrame) -> heatmap_explorer.Shared:
    """Return what both plots know of the selection."""
    state = selection_state.current()
    mu, sigma = state.rule.limits(table)
    return heatmap_explorer.Shared(state.run, state.session, state.released, mu, sigma, draggable=state.by == "thresholds")


def heard(table: pd.DataFrame, shown: pd.DataFrame, start: Selection) -> heatmap_explorer.Heard:
    """Return what answers the picture. shown: the table whose cells it draws."""
    return heatmap_explorer.Heard(
        picked=lambda click: picked(click, table, shown),
        moved=lambda mu, sigma, number: selection_state.dragged(mu, sigma, number, table),
        went_back=lambda text, number: selection_state.went_back(text, number, table, start),
    )


def controls(run: Run, table: pd.DataFrame, region: list[str], start: Selection) -> None:
    """Show how the region is chosen, how large it is, and what can be done with it."""
    size = counts(table, region, run.json("region.json"))
    state = selection_state.current()
    st.markdown(f"### {size.count} of {size.total} tensors")
    model = "" if size.model is None else f", {size.model:.2f} % of the model"
    st.caption(f"{size.adapter:.1f} % of adapter parameters{model}")
    offer_run(run, state.selection.region(), state.written, table)
    handpicked.brushed(table, region)
    with st.container(border=True):
        selection_state.tell("by")
        st.segmented_control(
            "Selected by",
            list(BY),
            format_func=BY.get,
            key="by",
            required=True,
            on_change=take_by,
            args=(table, region),
            label_visibility="collapsed",
            width="stretch",
        )
        if state.by == "thresholds":
            thresholds.choose(table, start.rule if start.hand is None else None)
        else:
            listed(run, table, start)
        if state.editing:
            handpicked.controls(table)
        selection_state.listen()
        handpicked.saved(run, table, region)


def listed(run: Run, table: pd.DataFrame, start: Selection) -> None:
    """Say what the list of cells is, and offer to go back to what the run was made with, where that was a list."""
    chosen, rule = selection_state.current().selection, run.config().region
    st.caption(f"Listed: {md(selection.origin(chosen, start, rule))}.")
    if start.hand is not None and chosen.hand != start.hand:
        st.button(
            "Back to this run's own",
            type="tertiary",
            icon=":material/history:",
            on_click=handpicked.put,
            args=("this run’s own", start.hand, table),
        )


BY = {"thresholds": "Thresholds", "hand": "List of cells"}


def take_by(table: pd.DataFrame, region: list[str]) -> None:
    """Let thresholds or the list decide; an empty list begins with what the thresholds select."""
    hand = selection_state.current().hand
    selection_state.taken(
        "by", lambda by: {"by": by, "hand": selection.live(region, table) if by == "hand" and not hand else hand}
    )


@dataclasses.dataclass(frozen=True)
class Counts:
    """What a region amounts to."""

    count: int
    total: int
    adapter: float
    """percent of the adapter's parameters"""
    model: float | None
    """percent of the model's parameters; None where the run has not recorded the model's size"""


def counts(table: pd.DataFrame, region: list[str], recorded: dict[str, float] | None) -> Counts:
    """Count a region. recorded: region.json, from whose two shares the model's size follows."""
    elements = table["rows"] * table["columns"]
    inside = float(elements[table["name"].isin(set(region))].sum())
    share = 100 * inside / float(elements.sum()) if len(elements) else 0.0
    model = None
    if recorded and recorded.get("share_of_adapter") and recorded.get("share_of_model"):
        model = share * recorded["share_of_model"] / recorded["share_of_adapter"]
    return Counts(len(region), len(table), share, model)


def offer_run(run: Run, rule: Region, text: str, table: pd.DataFrame) -> None:
    """Offer the form of a new run with this region. text: how an address spells the rule, empty for the run's own."""
    try:
        regions.choose(rule, table)
    except UserError as error:
        st.button("Unlearn with this region", disabled=True, width="stretch", help=md(error))
        st.caption(md(error))
        return
    if st.button("Unlearn with this region", type="primary", width="stretch", icon=":material/edit_note:"):
        asked = {"run": run.id, "view": pages.NEW_RUN, "again": run.id}
        # The address says of the region what the run's own settings do not say.
        st.switch_page(pages.RUNS.script, query_params=asked | ({selection.PARAMETER: text} if text else {}))
    st.caption(f"Opens the form of a new run; nothing starts yet. {cost(run)}")


def cost(run: Run) -> str:
    """Say what a run with another region re-uses and computes, and how long that took last time."""
    stages = (run.json("manifest.json") or {}).get("stages", {})
    seconds = {name: float(stage.get("seconds", 0)) for name, stage in stages.items()}
    rest = sum(seconds.get(name, 0) for name in store.OWN)
    took = f" The rest took {duration(rest)} there." if rest else ""
    if run.bundled:
        return f"Teaching and gradients are re-used where this machine computes as the bundled run's did.{took}"
    return f"Teaching and gradients are re-used.{took}"


def drill_down(run: Run, table: pd.DataFrame, region: list[str]) -> None:
    """Show what is inside the chosen cell, and which questions drive it."""
    chosen = one_cell.chosen_cell(table, region)
    within, asked = st.columns([1.35, 1], gap="large")
    with within:
        st.subheader("Inside it")
        one_cell.inside(run, table, chosen)
    with asked:
        one_cell.questions(run, chosen)


page()
