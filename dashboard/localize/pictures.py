"""The two linked pictures: the map of the cells, and the scatter with the thresholds. Either hears what is done to it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.jobs import controls as controls_
from core.localization.measures import MEASURES
from core.models import cells as cells_
from core.regions.matched import matched
from core.runs.store import Run
from dashboard.charts import heatmap as heatmap_
from dashboard.charts import separability as separability_
from dashboard.charts.palette import DARK, LIGHT
from dashboard.charts.scatter import scatter
from dashboard.localize import handpicked, heatmap_explorer, one_cell, selection_state
from dashboard.localize.opened import Opened, Version, version
from dashboard.text import number
from dashboard.widgets import current_run, glossary, page_style, plot
from dashboard.widgets.plot import columns_of

if TYPE_CHECKING:
    import pandas as pd
    from streamlit.delta_generator import DeltaGenerator

KEPT = 32
"""pictures that are remembered for the next who looks at the same, of all visitors together: some 150 kB each"""


def by_factor() -> bool:
    """Show the switch of the map's rows; return whether they are factors, not modules."""
    if (old := st.query_params.get("join")) is not None:  # a link from when factors came first
        st.session_state["factors"] = old.lower() == "false"
        del st.query_params["join"]
    return st.toggle(
        "Show factors A and B",
        key="factors",
        bind="query-params",
        help="The change of a module is the product of two factors, A and B. Together they count as one long gradient, and "
        f"a click takes both.  \n{glossary.help_text('A')}",
    )


def grid(page: Opened, measure: str, scale: DeltaGenerator, *, factors: bool) -> None:
    """Show the map, coloured by a measure. scale: the place of what else it can be set to."""
    table, region = page.table, page.region
    with scale:
        linear, intensity, number_of = scaled()
    boxed = [name for name in st.session_state.get("brushed", ()) if name in set(table["name"])]
    other, palette = boxed or random_region(table, region, number_of), page_style.palette()
    look = Look(
        tuple(region),
        one_cell.chosen_cell(table, region),
        palette is DARK,
        measure,
        factors,
        linear,
        intensity,
        tuple(other),
    )
    drawn, words = _map(version(page.run), look, page)
    shown, strip = page.shown(factors=factors), separability_.usable(current_run.table(page.run, "separability"))
    layers = cells_.layout(shown).layers
    heatmap_explorer.heat(
        heatmap_explorer.Picture(drawn, words, facts(page.run, measure, strip)),
        shared(table),
        heard(page, shown),
        heatmap_explorer.Colours(measure, logarithmic=not linear, layers=layers, accent=palette.accent, ink=palette.text),
    )
    handpicked.mode()
    also = [
        also_changed(table, region) if measure == "change" else "",
        "" if factors else in_part(shown, table, region),
        f"Dotted: the {len(boxed)} tensors in your box." if boxed else dotted(number_of, other, region),
    ]
    st.caption(
        legend(measure, strip, also, threshold=measure == "cosine" and page.by_rule),
        help=separability_.help_text(strip) if strip is not None else None,
    )


def scaled() -> tuple[bool, float, int]:
    """Let colours and a random region be set; return whether colours are linear, their intensity, and which region."""
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
    return linear, intensity, number_of


@dataclass(frozen=True)
class Look:
    """How a run's cells are drawn."""

    region: tuple[str, ...]
    """selected tensors, in table order"""
    chosen: str
    """the cell that is looked at"""
    dark: bool
    measure: str = "cosine"
    factors: bool = True
    linear: bool = False
    intensity: float = 1.0
    other: tuple[str, ...] = ()
    """tensors of another region"""


@st.cache_resource(max_entries=KEPT, show_spinner=False)  # type: ignore[untyped-decorator]
def _map(of: Version, look: Look, _page: Opened) -> tuple[str, str]:
    """Return the map of a version of a run as `plot.drawn` writes it, and in words."""
    table, strip = _page.table, separability_.usable(current_run.table(_page.run, "separability"))
    fig = heatmap_.heatmap(
        table,
        look.measure,
        look.region,
        look.chosen,
        DARK if look.dark else LIGHT,
        join=not look.factors,
        joined=_page.shown(factors=look.factors),
        ruler=heatmap_.Ruler(not look.linear, look.intensity),
        separability=strip,
        other=look.other,
    )
    words = heatmap_.summary(table, look.measure, look.region), separability_.summary(strip, sorted(set(table["layer"])))
    selected = plot.text(table["name"].isin(set(look.region)).tolist())
    columns = f'{_numbers(of, table)[:-1]},"selected":{selected}}}'
    return plot.drawn(fig, columns=columns), " ".join(words).strip()


@st.cache_resource(max_entries=8, show_spinner=False)  # type: ignore[untyped-decorator]
def _numbers(of: Version, _table: pd.DataFrame) -> str:
    """Return what the CSV of the map holds whatever is selected: every tensor with every number."""
    return plot.text(columns_of(_table))


@st.cache_resource(max_entries=KEPT, show_spinner=False)  # type: ignore[untyped-decorator]
def _scatter(of: Version, look: Look, limits: tuple[float, float] | None, _page: Opened) -> str:
    """Return the scatter of a version of a run, with what the browser needs to apply a threshold."""
    fig = scatter(_page.table, look.region, limits, look.chosen, DARK if look.dark else LIGHT)
    return plot.drawn(fig, cells=_statistics(of, look.factors, _page))


@st.cache_resource(max_entries=8, show_spinner=False)  # type: ignore[untyped-decorator]
def _statistics(of: Version, factors: bool, _page: Opened) -> str:
    """Return what the browser needs to apply a threshold."""
    table = _page.table
    keys = table if factors else table.assign(factor=cells_.JOINED)
    layout = cells_.layout(_page.shown(factors=factors))
    return plot.text(heatmap_explorer.statistics(table, *layout.positions(keys)))


def legend(measure: str, strip: pd.DataFrame | None, also: list[str], *, threshold: bool) -> str:
    """Say below the picture what its bars and lines are. also: what there is to add; threshold: it has a handle."""
    sentences = [
        f"**{MEASURES[measure].label}**: {MEASURES[measure].help}",
        *also,
        "Bars: selected tensors of each layer and module.",
        "The handle on the colour bar is the threshold (μ)." if threshold else "",
        separability_.said(strip) if strip is not None else "",
    ]
    return " ".join(filter(None, sentences))


def in_part(shown: pd.DataFrame, table: pd.DataFrame, region: list[str]) -> str:
    """Say of how many outlined modules only one factor is selected; empty where both are of all."""
    inside = [factors for factors in cells_.selected(shown, table, region) if factors]
    only = {name: sum(factors == (name,) for factors in inside) for name in ("A", "B")}
    if not any(only.values()):
        return ""
    said = " and ".join(f"{count} only {name}" for name, count in only.items() if count)
    return f"Of the {len(inside)} outlined modules, {said} is selected; point at one to see which."


def random_region(table: pd.DataFrame, region: list[str], number_of: int) -> tuple[str, ...]:
    """Return the tensors of a random region like the selected one, as the controls draw it, counted from 1; none for 0."""
    if number_of:
        with page_style.complaints():
            return matched(table, region, number_of - 1)
    return ()


def dotted(number_of: int, other: Collection[str], region: list[str]) -> str:
    """Say which random region is dotted, and how much of it is selected; empty where none is."""
    both = len(set(other) & set(region))
    return f"Dotted: random region {number_of}; {both} of its {len(other)} tensors are selected." if other else ""


def also_changed(table: pd.DataFrame, region: list[str]) -> str:
    """Say how many tensors the run changed that are not selected now; nothing where there is none."""
    others = int(((table["norm_change"] > 0) & ~table["name"].isin(set(region))).sum())
    return f"This run also changed {others} tensors that are not selected now." if others else ""


def facts(run: Run, measure: str, strip: pd.DataFrame | None) -> list[tuple[str, str]]:
    """Return where the map's numbers are from, and those of the strip above it where there is one."""
    stage, file = ("unlearn", "changes.parquet") if measure == "change" else ("localize", "localization.parquet")
    return page_style.where(run, stage, file, MEASURES[measure].formula) + (
        [("Line on top", separability_.formula(strip))] if strip is not None else []
    )


def cut(page: Opened, *, factors: bool) -> None:
    """Show what the thresholds cut out, with both lines to drag; or, where something else selected it, the region alone.

    factors: the map has a row for each, where its cells are repainted while a line is dragged.
    """
    table, region = page.table, page.region
    with page_style.complaints():
        link, palette = shared(table), page_style.palette()
        look = Look(tuple(region), one_cell.chosen_cell(table, region), palette is DARK, factors=factors)
        words = f"are shared below {link.mu:.2f} (cosine) and have a pull to forget above {number(link.sigma)}"
        heatmap_explorer.scatter(
            heatmap_explorer.Picture(
                _scatter(version(page.run), look, (link.mu, link.sigma) if page.by_rule else None, page),
                f"{len(region)} tensors {words if page.by_rule else f'are selected: {page.words}'}.",
                page_style.where(page.run, "localize", "localization.parquet", MEASURES["cosine"].formula),
            ),
            link,
            heard(page, table),
            palette,
        )


def shared(table: pd.DataFrame) -> heatmap_explorer.Shared:
    """Return what both plots know of the selection."""
    state = selection_state.current()
    mu, sigma = state.rule.limits(table)
    return heatmap_explorer.Shared(state.run, state.session, state.released, mu, sigma, draggable=state.by == "thresholds")


def heard(page: Opened, shown: pd.DataFrame) -> heatmap_explorer.Heard:
    """Return what answers the picture. shown: the table whose cells it draws."""
    table = page.table
    return heatmap_explorer.Heard(
        picked=lambda click: picked(click, page, shown),
        moved=lambda mu, sigma, number: selection_state.dragged(mu, sigma, number, table),
        went_back=lambda text, number: selection_state.went_back(text, number, table, page.start),
    )


def picked(click: dict[str, Any], page: Opened, shown: pd.DataFrame) -> None:
    """React to a click or a box: choose a cell to look at; in the mode for it, edit the region."""
    table = page.table
    tensors = set(table["name"])
    if click.get("cell") in tensors:
        names = cells_.tensors_of(click["cell"], shown, table)["name"].tolist()
        what = cells_.called(shown[shown["name"] == click["cell"]].iloc[0])
        selected = [name for name in names if name in set(page.region)]
        # Of a module, that factor which is selected, where only one is.
        st.session_state["cell"] = selected[0] if len(selected) == 1 else click["cell"]
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
