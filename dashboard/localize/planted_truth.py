"""The part "Planted truth": which score finds facts in the modules into which they were taught, in this run's own model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from core.config import run_config
from core.jobs import planting
from core.localization import SCORES, plantings
from core.runs import store
from core.runs.store import Run
from core.util import safe_read
from core.util.errors import UserError
from core.util.safe_read import mapping, number
from dashboard.charts import planted
from dashboard.localize import planted_map
from dashboard.text import duration, md
from dashboard.widgets import cancel_button, current_run, literature, number_table, page_style, work_beside
from dashboard.widgets.number_table import Cell, Column, Row, Table

Record = Mapping[str, Any]
"""planted.json, readable"""

WHAT = (
    "Here it is known where the facts are. A random set of modules learned facts to be forgotten, another one facts to be "
    "kept, and all others learned other facts. A score is worth something if it finds the first set."
)
MEASURED = (
    "Found: of as many modules as were planted, the highest, how many hold facts to be forgotten. The other columns are the "
    "chance that such a module stands above one with other facts: 1 is always, 0.5 is a coin."
)
ABLATION = "What is lost without each module, one after the other: what scores are held against, at a pass a module."
LOCATED = "Gradients of both scopes point apart, and that of what is to be forgotten is strong."
SENTENCES = {"located": LOCATED, "ablation": ABLATION} | {name: score.sentence for name, score in SCORES.items()}
"""score -> what it says"""


def record_of(run: Run) -> Record:
    """Return what was planted in a run's model, here or as it ships; empty where nothing was."""
    files = planting.records(store.runs_folder())
    return _record(run.config().model.name, tuple((str(path), safe_read.stamp(path)) for path in files))


@st.cache_resource(max_entries=8, show_spinner=False)  # type: ignore[untyped-decorator]
def _record(model: str, files: tuple[tuple[str, tuple[int, int]], ...]) -> Record:
    return planting.of_model(model, [Path(path) for path, _ in files])


def sentence(run: Run, measure: str, by_rule: bool) -> str:
    """Say how well the score that a heatmap shows found planted truth in this model; empty where that is not known.

    by_rule: the outlined cells are those of the paper's rule, which as a score ranks by divergence.
    """
    if measure == "held":
        return plantings.beside(record_of(run), "removal")
    uses = measure == "divergence" or (by_rule and measure in ("cosine", "forget", "retain", "region"))
    return plantings.beside(record_of(run), "located") if uses else ""


def show(run: Run) -> None:
    """Show what was planted in the run's model, or offer to plant."""
    st.markdown(WHAT)
    record = record_of(run)
    at = planting.job_folder(run.config(), planting.FEW, store.runs_folder())
    kept = "Nothing of this planting is kept. The run itself stays as it is."
    alive = work_beside.watch(at, how_far, partial(cancel_button.show, at, "planted.cancel", help=kept))
    if record:
        found(record)
    elif not alive:
        offer(run, at)


# -- what was found ----------------------------------------------------------------------------------------------------


def found(record: Record) -> None:
    """Show how well each score found planted modules, and one planting as a map."""
    st.markdown(
        f"{md(plantings.held(record))} **{md(plantings.verdict(record, lambda score: f'“{plantings.called(score)}”'))}**"
    )
    with st.container(key="planted_scores"):
        st.html(number_table.markup(table(record), page_style.palette()))
    draws = len({planting["plant"] for planting in record["plantings"]})
    over = f"over the {draws} draws of modules" if draws > 1 else "over modules of the one planting"
    small = "" if draws == 1 < len(record["plantings"]) else f" Small: 95 % intervals {over}."
    st.caption(f"{MEASURED}{small}")
    if "located" in record["scores"]:
        literature.beside("planted")
    st.fragment(one_planting)(record)


def table(record: Record) -> Table:
    """Return a line a score: the best in bold, and below the others in grey what they are held against."""
    scores, size = record["scores"], int(record["settings"]["cells"])
    winner = plantings.best_score(scores)
    columns = [
        Column(f"found of {size}", "How many of the planted modules are among as many of the highest; mean over plantings"),
        Column(
            "above those kept",
            "Area under the curve: modules with facts to be forgotten against those with facts to be kept",
        ),
        Column(
            "above all others", "Area under the curve: modules with facts to be forgotten against those with other facts"
        ),
    ]
    rows = []
    for name in ordered(scores):
        hits = f"{plantings.hits(record, name):.1f}".removesuffix(".0")
        by_chance = f"{plantings.by_chance(record):.1f} expected" if name == "chance" else ""
        cells = [Cell(hits, by_chance), *(_auc(record, name, other) for other in ("retention", "decoy"))]
        kind = "after" if name == winner else "reference" if name in plantings.NO_CANDIDATES else ""
        first = "To be beaten: " if name in plantings.BASELINES else ""
        rows.append(Row(f"{first}{plantings.called(name)}", cells, SENTENCES.get(name, ""), kind))
    return Table("Which score found planted modules how well", "score", columns, rows)


def ordered(scores: Record) -> list[str]:
    """Return the scores, best first, and after them what they are held against."""
    return sorted(
        scores,
        key=lambda name: (
            name in plantings.NO_CANDIDATES,
            name in plantings.BASELINES,
            -(scores[name]["auc_retention"][0] + scores[name]["auc_decoy"][0]),
        ),
    )


def _auc(record: Record, score: str, other: str) -> Cell:
    """Write an area under the curve with its interval: over draws of modules, or of a single planting over its modules."""
    mean, low, high = record["scores"][score][f"auc_{other}"]
    if low is None and len(record["plantings"]) == 1:
        seen = mapping(record["plantings"][0]["found"][score])
        low, high = (number(seen.get(f"auc_{other}_{end}")) for end in ("low", "high"))
    interval = "" if low is None or high is None else f"{low:.2f} to {high:.2f}"
    return Cell(f"{mean:.2f}", interval)


def one_planting(record: Record) -> None:
    """Let a score, and where there are several a planting, be chosen, and show its map with the threshold."""
    names, plants = ordered(record["scores"]), record["plantings"]
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    score = left.selectbox(
        "Map of",
        names,
        names.index(plantings.best_score(record["scores"])),
        key="planted_score",
        format_func=plantings.called,
    )
    which = 0
    if len(plants) > 1:
        which = right.selectbox(
            "Planting", range(len(plants)), key="planted_which", format_func=lambda at: _name(plants[at])
        )
    st.caption(md(SENTENCES.get(score, "")))
    modules = planted.modules(plants[which], score)
    planted_map.show(
        modules,
        page_style.palette(),
        f"{plantings.called(score)}: {len(modules)} modules by layer, with those outlined in which facts were planted.",
        [
            ("File", f"{planting.FILE}, {_name(plants[which])}"),
            ("Model", current_run.model_name(record.get("model"))),
            ("Facts", str(record.get("data"))),
            ("Computed as", "order of the modules by the score; core/localization/scores.py"),
        ],
    )
    st.caption(
        "The stronger the colour, the higher the score ranks a module. Outlined: modules with facts to be forgotten. "
        "Dotted: with facts to be kept. Faint: below the threshold."
    )


def _name(one: Record) -> str:
    """Return what a planting is called: a draw of modules and facts, and one teaching of it."""
    return f"draw {(number(one.get('plant')) or 0) + 1:.0f}, teaching {(number(one.get('seed')) or 0) + 1:.0f}"


# -- making one ----------------------------------------------------------------------------------------------------------


def offer(run: Run, at: Run) -> None:
    """Say that nothing was planted, how an earlier try ended, and how long one would take; start it."""
    work_beside.failed(at)
    st.info("Nothing was planted in this model yet.", icon=":material/potted_plant:")
    try:
        took = _seconds(str(run.path), safe_read.stamp(run.path / "config.json"), str(store.runs_folder()))
    except UserError as error:  # nothing is wrong: of this run's facts none can be planted
        st.caption(f"{md(error.what)} {md(error.fix)}")
        return
    time = "How long it takes is not known." if took is None else f"It takes about {duration(took[0])} ({took[1]})."
    st.caption(f"{md(time)} The facts are this run’s own questions. The run itself stays as it is.")
    if st.button("Plant facts and look for them", type="primary", icon=":material/potted_plant:", key="planted.start"):
        with page_style.complaints():
            planting.start(run.config(), planting.FEW, store.runs_folder())
            st.rerun()


# The speed of this machine is measured for it, which takes a moment: not at every look. `changed` tells one version of the
# run's settings from the next.
@st.cache_data(max_entries=16, ttl=600, show_spinner=False)  # type: ignore[untyped-decorator]
def _seconds(run: str, changed: tuple[int, int], folder: str) -> tuple[float, str] | None:
    return planting.seconds(run_config.load(Path(run) / "config.json"), planting.FEW, Path(folder))


PARTS = {"steps": "Teaching the modules", "examples": "Scoring them", "modules": "Trying each module out"}
"""unit of progress -> what is being done"""


def how_far(status: Record) -> tuple[float, str]:
    """Return how far the present part of a planting is, 0 … 1, and what it is."""
    counted = work_beside.count(status)
    if counted is None:
        return 0.0, "Loading the model …"
    return counted.share, f"{PARTS.get(counted.unit, 'At work')}: {counted.words}"
