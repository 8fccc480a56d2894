"""Drill-down into one cell of the map: its numbers, what is inside, which questions drive it, how far unlearning moved it.

A cell is a module, as on the map, or one of its two factors, where somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.localization.measures import MEASURES
from core.models import cells
from core.models.cells import number as layer_number
from core.models.cells import short
from core.runs.store import Run
from dashboard.charts import cell as charts
from dashboard.localize import handpicked, selection_state
from dashboard.text import md, number, shorten
from dashboard.widgets import current_run, page_style

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 6  # questions listed for a cell
BOTH = "both"
"""in the place of a factor: the module as a whole"""


def chosen_cell(table: pd.DataFrame, region: Sequence[str]) -> str:
    """Return the chosen cell: clicked, from the address, or the one that stands out most."""
    names, state = set(table["name"]), st.session_state
    given = st.query_params.get("cell")
    if given in names and given != state.get("cell_written"):
        state["cell"] = given  # a link, or back and forward
    elif given is None and "layer" in state and state.get("cell_written") == state.get("cell"):
        state.pop("cell", None)  # back to before a cell was chosen; writing it again would undo that step
        state.pop("cell_written", None)
    if state.get("cell") in names:
        state["cell_written"] = state["cell"]
        if given != state["cell"]:  # written anew, the browser would be sent back to the address of this script's beginning
            st.query_params["cell"] = state["cell"]
        return str(state["cell"])
    inside = table[table["name"].isin(set(region))]
    ranked = (inside if len(inside) else table).sort_values("divergence", ascending=False)
    return str(ranked["name"].iloc[0])


def numbers(table: pd.DataFrame, region: Sequence[str], chosen: str, *, factors: bool) -> None:
    """Let the cell be chosen by name, and show its numbers. factors: the map shows them, not modules."""
    own, state = table[table["name"] == chosen], st.session_state
    whole = of_module(chosen, table, factors=factors)
    parts = own if whole is None else whole
    row: Mapping[Any, Any] = own.iloc[0].to_dict() if len(parts) == 1 else _as_one(parts)
    state["layer"], state["module"] = int(row["layer"]), row["module"]
    state["factor"] = BOTH if whole is not None else row["factor"]
    layer, module, factor = st.columns([1.25, 2, 1.1], gap="xsmall")
    choose: dict[str, Any] = {"on_change": by_name, "args": (table,)}
    layer.selectbox("Layer", sorted(set(table["layer"])), key="layer", format_func=layer_number, **choose)
    modules = list(dict.fromkeys(table["module"]))
    clear = len({short(name) for name in modules}) == len(modules)  # not so with experts
    module.selectbox("Module", modules, key="module", format_func=short if clear else str, **choose)
    there = sorted(set(table["factor"]))
    factor.selectbox("Factor", there if factors or len(there) == 1 else [BOTH, *there], key="factor", **choose)
    inside = parts.loc[parts["name"].isin(set(region)), "factor"].tolist()
    within = len(inside) == len(parts)
    with st.container(horizontal=True, vertical_alignment="center"):
        only = "" if within else f"only {' and '.join(inside)} "
        sign = f":orange-badge[:material/check: {only}in the region]" if inside else ":gray-badge[outside the region]"
        st.markdown(sign, width="content")
        if row["has_gradient"] and selection_state.current().editing:
            st.button(
                "Take it out" if within else "Put it in",
                type="tertiary",
                on_click=_switch,
                args=(cells.called(row), chosen, parts["name"].tolist(), table),
            )
    _metrics(row)
    sizes = " + ".join(f"{rows} × {columns}" for rows, columns in zip(parts["rows"], parts["columns"], strict=True))
    names = ", ".join(map(md, parts["name"]))
    st.caption(f"{sizes} = {int((parts['rows'] * parts['columns']).sum()):,} parameters · {names}")


def _metrics(row: Mapping[Any, Any]) -> None:
    """Show what was measured of a cell."""
    shown = [("Shared", f"{row['cos']:.3f}" if row["has_gradient"] else "no gradient", "cosine")]
    held = row.get(MEASURES["held"].column)
    if held is not None and held == held:
        shown.insert(0, (MEASURES["held"].label, number(held), "held"))
    shown += [
        (MEASURES[name].label, number(row[MEASURES[name].column]), name) for name in ("divergence", "forget", "retain")
    ]
    if "norm_before" in row:
        shown.append((MEASURES["change"].label, number(row["norm_change"]), "change"))
        before = row["norm_before"]  # 0 of a factor that was never trained
        shown.append(("Relative change", f"{100 * row['norm_change'] / before:.1f} %" if before > 0 else "–", "change"))
    with st.grid("auto", min_column_width=130, gap="small"):
        for label, value, measure in shown:
            st.metric(label, value, help=MEASURES[measure].help)


def of_module(chosen: str, table: pd.DataFrame, *, factors: bool) -> pd.DataFrame | None:
    """Return the tensors of the chosen cell's module; None where the map shows factors, or somebody asked for one."""
    if factors or st.session_state.get("one_factor") or table["factor"].nunique() == 1:
        return None
    row = table[table["name"] == chosen].iloc[0]
    return table[(table["layer"] == row["layer"]) & (table["module"] == row["module"])]


def _as_one(parts: pd.DataFrame) -> dict[str, Any]:
    """Return a module's numbers: its factors' gradients, and their norms, count as one long vector."""
    row = {str(name): value for name, value in cells.joined(parts).iloc[0].items()}
    return row if "norm_before" not in parts else {**row, "norm_before": float((parts["norm_before"] ** 2).sum() ** 0.5)}


def _switch(what: str, chosen: str, names: Sequence[str], table: pd.DataFrame) -> None:
    handpicked.toggle(what, names, table)
    st.session_state["cell"] = chosen  # another would be shown, where none was chosen


def by_name(table: pd.DataFrame) -> None:
    """Take the cell that the three boxes name; where there is none, the nearest: same layer and module."""
    state = st.session_state
    state["one_factor"] = state["factor"] != BOTH
    same = table[(table["layer"] == state["layer"]) & (table["module"] == state["module"])]
    same = same.sort_values("divergence", ascending=False)  # of a module the one that stands for it on the map
    exact = same[same["factor"] == state["factor"]]
    matches = exact if len(exact) else same
    if len(matches):
        state["cell"] = str(matches["name"].iloc[0])


def inside(run: Run, table: pd.DataFrame, chosen: str) -> None:
    """Show the distribution of a cell's gradients, and where in it they lie."""
    detail = current_run.detail(run)
    if detail is None:
        st.caption("This run recorded no details of its cells (detail.npz is missing).")
        return
    index = int(table.index[table["name"] == chosen][0])
    distribution, palette = charts.take(detail, index), page_style.palette()
    facts = page_style.where(
        run, "localize", "detail.npz", "gradients of both scopes towards random answers, element by element"
    )
    views = {"Distribution": "", "Heads": "head", "Rows": "row", "Columns": "column"}
    if not len(distribution.heads.get("unlearn", ())):
        views.pop("Heads")
    view = st.segmented_control(
        "What to show",
        list(views),
        default="Distribution",
        key="inside",
        required=True,
        label_visibility="collapsed",
        bind="query-params",
    )
    side = views.get(view, "")
    if not side:
        page_style.chart(
            charts.histogram(distribution, palette),
            "Distribution of element gradients of both scopes",
            "histogram",
            facts=facts,
        )
        return
    page_style.chart(
        charts.profile(distribution, side, palette),
        f"Root mean square gradient of each {side}",
        f"profile_{side}",
        facts=facts,
    )


def questions(run: Run, chosen: str) -> None:
    """List the questions that drive a cell most."""
    st.subheader(
        "What drives it",
        help="Share of this cell's forget gradient that comes from each question. Others pull against it, so that "
        "those listed can add up "
        "to more than 100 %.",
    )
    shares = current_run.table(run, "contributions")
    mine = shares[shares["name"] == chosen] if shares is not None else None
    if mine is None or mine.empty:
        st.caption("Not recorded for this cell.")
        return
    texts = {row.get("example"): row.get("question", "") for row in current_run.answers(run)}
    best = mine.head(SHOWN)
    for example, share in zip(best["example"], best["share"], strict=True):
        question = md(shorten(str(texts.get(example) or example), 110))
        st.markdown(f":gray[{100 * share:.1f} %] &nbsp; {question}")
