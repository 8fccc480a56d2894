"""The tab "What holds it": put a cell, a module or a layer back to before, and see how much of the answer returns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from core.models.cells import labels, layer_and_module
from core.runs import askable
from core.runs.store import Run
from core.serve import client
from core.util.errors import UserError
from dashboard.charts import strength_dial as charts
from dashboard.compare import panes
from dashboard.text import duration, md
from dashboard.widgets import page_style
from dashboard.widgets.question_and_answers import Exchange

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

Work = list[Callable[[], None]]
KINDS = {"layers": "Layers", "modules": "Modules", "cells": "Single cells"}


def show(run: Run, asked: Exchange, voices: Sequence[str], work: Work) -> dict[str, DeltaGenerator]:
    """Show the tab; return the place of the answer with the chosen part put back."""
    st.markdown(
        "Only the cells of the region were changed. Put some of them back to before: where the old answer returns, "
        "their change was what kept it away. This is computed exactly, by switching the cells and asking again."
    )
    by = st.segmented_control(
        "Put back", list(KINDS), format_func=KINDS.get, default="layers", key="back", required=True, bind="query-params"
    )
    groups = groups_of(run, by)
    if not groups:
        st.info("This run has no region yet.")
        return {}
    part = st.selectbox(
        "Which one",
        list(groups),
        index=None,
        key=f"part_{by}",
        bind="query-params",
        format_func=str,
        placeholder=f"choose one of {len(groups)}, or compute them all below",
        help="The answer of after with only this part put back to before.",
    )
    spots = {}
    if part in groups:
        voice = f"without:{','.join(groups[part])}"
        if voice in voices:
            st.caption("Its answer stands above, among the others.")
        else:
            spots[voice] = panes.box(asked, run, voice, "differences")
    row(run, asked, by, groups, str(part or ""), work)
    return spots


def groups_of(run: Run, by: str) -> dict[str, list[str]]:
    """Return the parts of the region by layer, by module, or one by one: name -> parts in the voices' grammar."""
    tensors = [str(name) for name in (run.json("region.json") or {}).get("tensors", [])]
    cells = [(*layer_and_module(name.rsplit(".lora_", 1)[0]), name) for name in tensors]
    if by == "layers":
        return {f"layer {layer}": [f"layer={layer}"] for layer in sorted({layer for layer, _, _ in cells})}
    if by == "modules":
        return {module: [f"module={module}"] for module in dict.fromkeys(module for _, module, _ in cells)}
    names = labels(module for _, module, _ in cells)
    return {f"layer {layer} · {names[module]} · {name[-1]}": [name] for layer, module, name in cells}


def row(run: Run, asked: Exchange, by: str, groups: dict[str, list[str]], chosen: str, work: Work) -> None:
    """Show what each part holds, or offer to compute it."""
    if not asked.truth:
        st.info("Write the true answer above, and this tab can compute how much of it each part holds.")
        return
    recovery = asked.holds.get(by, {})
    name = {
        "layers": "What does each layer hold?",
        "modules": "What does each module hold?",
        "cells": "What does each cell hold?",
    }[by]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        pressed = st.button(name, icon=":material/bar_chart:", key=f"hold_{by}")
        spot = st.empty()
    if recovery.get("rows"):
        spot.caption(summary(recovery))
        fig = charts.held(recovery, chosen, page_style.palette())
        words = ", ".join(f"{r['name']} {r['logprob'] - recovery['after']:+.2f}" for r in recovery["rows"])
        page_style.chart(
            fig,
            f"Log-probability of the true answer recovered by putting each part back, in nats: {words}",
            f"held_{by}",
            facts=facts(run, recovery),
        )
    else:
        spot.caption(f"{len(groups)} parts, each put back alone; the true answer is scored each time.")
    if pressed:
        work.clear()
        work.append(lambda: measure(run, asked, by, groups, spot))


def facts(run: Run, recovery: dict[str, Any]) -> list[tuple[str, str]]:
    """Return where the bars are from."""
    formula = (
        "log p(true answer) of after with this part's tensors as they were before − log p(true answer) of after, in nats"
    )
    return page_style.where(
        run,
        "unlearn",
        "none: computed now from the adapters before and after",
        formula,
        f"this question, {len(recovery['rows'])} of {recovery['total']} parts",
    )


def summary(recovery: dict[str, Any]) -> str:
    """Say in one sentence what was found."""
    rows, lost = recovery["rows"], recovery["before"] - recovery["after"]
    best = max(rows, key=lambda r: r["logprob"])
    gain = best["logprob"] - recovery["after"]
    partly = "" if len(rows) == recovery["total"] else f" So far {len(rows)} of {recovery['total']} parts."
    share = f", {100 * gain / lost:.0f} % of what was lost" if lost > 0 else ""
    return (
        f"Unlearning took {lost:.1f} nats from the true answer. {md(best['name'])} alone gives {gain:+.1f} "
        f"back{share}.{partly}"
    )


def measure(run: Run, asked: Exchange, by: str, groups: dict[str, list[str]], spot: DeltaGenerator) -> None:
    """Put each part back in turn, then show the page again. What interrupts this script stops the work; rows stay."""
    with spot.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, "Waiting for the model …")
        st.button("Stop", icon=":material/stop:", key="stop_hold")
    recovery: dict[str, Any] = {"rows": []}
    try:
        askable.unlearned(run)
        with contextlib.closing(client.hold(run, asked.question, asked.truth, groups)) as replies:
            for reply in replies:
                if reply["kind"] == "waiting" and not recovery["rows"]:
                    bar.progress(0.0, f"Waiting for the model: {duration(reply['seconds'])}")
                elif reply["kind"] == "start":
                    recovery |= {"before": reply["before"], "after": reply["after"], "total": reply["total"]}
                elif reply["kind"] == "row":
                    recovery["rows"].append(reply)
                    # At each row, not at the end: what interrupts this script loses nothing then.
                    asked.holds[by] = recovery
                    bar.progress(reply["done"] / reply["total"], f"{reply['done']} of {reply['total']}: {md(reply['name'])}")
    except UserError as error:
        page_style.complain(error)
        return
    st.rerun()
