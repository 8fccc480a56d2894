"""The trade-off: how much each chosen run forgot against how much it kept."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Sequence
from functools import partial

import streamlit as st

from core.metrics import intervals
from core.runs import asked as asked_
from core.runs.overview import readable
from core.runs.scores import Value
from core.util.safe_read import mapping
from dashboard.charts import tradeoff
from dashboard.charts.tradeoff import Point, Reference, Tradeoff
from dashboard.evidence import published, runs_beside, said_table, score_words
from dashboard.evidence.scores_table import Measured, grouped
from dashboard.text import md
from dashboard.widgets import current_run, page_style
from dashboard.widgets.scope_names import IN_WORDS

SAID, SUCCESS, KNEW = "What it says", "Unlearn Success", "Never-knew score"
AXES = {
    SAID: ("Forgotten without gibberish", "Kept"),
    SUCCESS: ("Unlearn Success", "Retention Success"),
    KNEW: ("Never-knew score", "Retention Success"),
}
"""what is chosen -> what stands across and up"""
ACROSS_HELP = (
    "**What it says** counts answers. Across: of what must be forgotten, those that neither say it nor are gibberish. "
    "Up: of what must be kept, those that say it.  \n"
    "**Unlearn Success** is the paper's measure: it goes on rising beyond the never-taught model, where answers "
    "turn into gibberish or refusals.  \n"
    "**Never-knew score** is highest where the model answers as if it had never been taught."
)
FORMULA = (
    "x and y as in the tables; forgotten without gibberish: 100 − said − gibberish. "
    "The front: runs on the current run's data that no other such run equals in both and "
    "beats in one"
)


def show(chosen: Sequence[Measured], split: str, paper: str) -> None:
    """Show the scatter with its controls."""
    palette = page_style.palette()
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        across = st.segmented_control(
            "Across",
            list(AXES),
            key="across",
            default=SAID if said_table.kinds(chosen[:1], split) else SUCCESS,
            required=True,
            bind="query-params",
            help=ACROSS_HELP,
            label_visibility="collapsed",
        )
        theirs = st.toggle(
            "Published, 7B",
            key="published",
            bind="query-params",
            disabled=across != SUCCESS,
            help="The paper's own runs on 7B models: other models, other training. Never-knew scores were not published.",
        )
    marks = points(chosen, split, across)
    alike = {run.run.id for run in chosen if asked(run, split) == asked(chosen[0], split)}
    compared = [p for p in marks if p.id in alike]
    front = tradeoff.front(compared) if len(compared) > 1 else []  # one run is no front
    axes, sentence = in_words(chosen, compared, len(front), split, across)
    if len(compared) < len(marks):
        sentence += (
            f" Runs on other data or of another model are drawn in grey ({len(marks) - len(compared)}), but not compared."
        )
    marks = [dataclasses.replace(p, compared=p.id in alike) for p in marks]
    if len(marks) < len(chosen):
        sentence += f" Without a point, since one of the numbers is missing: {missing(chosen, split, across)}."
    st.markdown(md(sentence))
    what = Tradeoff(
        marks,
        references(chosen, split, across, paper if theirs else ""),
        f"{axes[0]}, %",
        ignorance(chosen, split, across),
        front,
        f"{axes[1]}, %",
    )
    page_style.chart(
        tradeoff.draw(what, palette),
        f"{axes[0]} against {axes[1]}. {sentence}",
        "tradeoff",
        on_click=partial(_open, [run.run.id for run in chosen]),
        facts=page_style.where(chosen[0].run, "evaluate", "metrics.json of each run", FORMULA, IN_WORDS[split]),
        columns=columns(marks),
    )
    bars = "Bars are 95 % intervals over the questions. " if any(p.x_ends or p.y_ends for p in marks) else ""
    st.caption(f"{bars}A click on a point makes that run the current one.")


def in_words(
    chosen: Sequence[Measured], compared: Sequence[Point], front: int, split: str, across: str
) -> tuple[tuple[str, str], str]:
    """Return what the axes are called, and which run is best; of what is said with the kind of question that it answers."""
    axes, said = AXES[across], across == SAID
    sentence = score_words.best(
        [(p.name, p.x, p.y) for p in compared],
        front,
        axes,
        ignorance(chosen[:1], split, across),
        by=min if said else statistics.fmean,
    )
    kind = kind_of(chosen[0], split) if said else ""
    if not kind:
        return axes, sentence
    name = asked_.KIND_NAMES[kind]
    sentence = f"Asked {asked_.ASKED[kind]}. {sentence}{elsewhere(compared, chosen, split)}"
    return (f"{axes[0]} ({name})", f"{axes[1]} ({name})"), sentence


def asked(run: Measured, split: str) -> str:
    """Return what two runs must share to be compared: the model, and which questions of this split were to be forgotten and
    kept.
    """
    settings = readable(run.run)
    data = mapping(settings.get("data"))
    held = data.get("dev_share") or 0.0
    drawn = (held, data.get("dev_pick"), settings.get("seed")) if held and split != "val" else ()
    same = [data.get(key) or "" for key in ("source", "subset", "subjects", "forget")]
    return json.dumps([mapping(settings.get("model")).get("name"), same, drawn], sort_keys=True, default=str)


def elsewhere(compared: Sequence[Point], chosen: Sequence[Measured], split: str) -> str:
    """Say which run is best asked for other facts, where that is not what the chart shows; empty where it is not known."""
    if split in said_table.ALONE or asked_.OTHER in {kind_of(run, split) for run in chosen}:
        return ""
    ids = [point.id for point in compared]
    there = [point for point in points(chosen, split, SAID, asked_.OTHER) if point.id in ids]
    if len(there) < 2:
        return ""
    first = max(there, key=lambda point: (min(point.x, point.y), point.x + point.y))
    shares = "; ".join(f"“{point.name}” {point.x:.0f} and {point.y:.0f}" for point in there)
    return f" Asked {asked_.ASKED[asked_.OTHER]}, “{first.name}” is best in the smaller of the two ({shares})."


def points(chosen: Sequence[Measured], split: str, across: str, kind: str = "") -> list[Point]:
    """Return the runs that have both numbers; the first chosen one is the current run.

    kind: of question, for what is said; without it that which says the most.
    """
    marks = []
    for index, run in enumerate(chosen):
        x = _across(run, split, across, kind=kind)
        y = _up(run, split, across, kind=kind)
        if x.value is not None and y.value is not None:
            name = f"{run.name} ({run.trouble})" if run.trouble else run.name
            marks.append(Point(run.run.id, name, x.value, y.value, _ends(x), _ends(y), index == 0))
    return marks


def missing(chosen: Sequence[Measured], split: str, across: str) -> str:
    """Name the runs without a point, each with the reason."""
    names = []
    for run in chosen:
        values = (_across(run, split, across), _up(run, split, across))
        reasons = [value.reason for value in values if value.value is None]
        names += [f"“{run.name}” ({reasons[0]})"] if reasons else []
    return ", ".join(names)


def _across(run: Measured, split: str, across: str, voice: str = "after", kind: str = "") -> Value:
    if across == SAID:
        said = asked_.outcomes(run.scores, voice, "unlearn", kind or kind_of(run, split))
        if said is None:
            return Value(reason=run.scores.reason(asked_.METRIC, voice))
        clean = said.n - said.count("leaked") - said.count("noise")
        rate = intervals.rate([1.0] * clean + [0.0] * (said.n - clean))
        return Value(rate["value"], rate["low"], rate["high"], n=said.n)
    if across == SUCCESS:
        return run.scores.success(voice, "unlearn", split)
    return run.scores.value("never_knew", voice, split)


def _up(run: Measured, split: str, across: str, voice: str = "after", kind: str = "") -> Value:
    if across == SAID:
        return run.scores.value(asked_.METRIC, voice, f"retention/{kind or kind_of(run, split)}/kept")
    return run.scores.success(voice, "retention", split)


def kind_of(run: Measured, split: str) -> str:
    """Return the kind of question that speaks: of a split that settings are chosen on its own, else what says the most."""
    return split if split in said_table.ALONE else asked_.kind_asked(run.scores)


def _ends(value: Value) -> tuple[float, float] | None:
    return None if value.low is None or value.high is None else (value.low, value.high)


def references(chosen: Sequence[Measured], split: str, across: str, paper: str) -> list[Reference]:
    """Return before and never taught of each group of runs; on the never-knew axis both are known by definition."""
    marks = []
    for group in grouped(chosen, split):
        for voice, name in (("before", "Before unlearning"), ("never", "Never taught")):
            x, y = (axis(group[0], split, across, voice).value for axis in (_across, _up))
            if across == KNEW:
                x = {"before": 0.0, "never": 100.0}[voice]
            if x is not None and y is not None:
                marks.append(Reference(f"{name} ({group[0].name})", x, y, voice))
    for row in published.read().tables[paper] if paper and across == SUCCESS else ():
        marks.append(Reference(row.name, row.values["unlearn_success"], row.values["retention_success"], "published"))
    return marks


def ignorance(chosen: Sequence[Measured], split: str, across: str) -> float | None:
    """Return the never-taught model's Unlearn Success for the first run, where that of no other differs from it."""
    if across != SUCCESS:
        return None
    levels = [group[0].scores.success("never", "unlearn", split).value for group in grouped(chosen, split)]
    measured = [level for level in levels if level is not None]
    if not measured or len(measured) < len(levels):
        return None
    # Computed on two machines it differs in the decimals.
    return measured[0] if max(measured) - min(measured) <= score_words.NEAR else None


def columns(points: Sequence[Point]) -> dict[str, list[object]]:
    """Return what the chart's CSV holds."""
    return {
        "run": [p.id for p in points],
        "name": [p.name for p in points],
        "x": [p.x for p in points],
        "y": [p.y for p in points],
        "x low": [p.x_ends and p.x_ends[0] for p in points],
        "x high": [p.x_ends and p.x_ends[1] for p in points],
        "y low": [p.y_ends and p.y_ends[0] for p in points],
        "y high": [p.y_ends and p.y_ends[1] for p in points],
    }


def _open(chosen: Sequence[str], name: object) -> None:
    """Make a clicked run the current one; the others, the one it replaces among them, stay beside it."""
    if name in current_run.known_runs():
        runs_beside.put([other for other in chosen if other != name])
        current_run.open_run(str(name))
