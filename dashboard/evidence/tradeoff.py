"""The trade-off: how much each chosen run forgot against how much it kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from functools import partial

import streamlit as st

from core.runs.overview import readable
from core.runs.scores import Value
from core.util.safe_read import mapping
from dashboard.charts import tradeoff
from dashboard.charts.tradeoff import Point, Reference, Tradeoff
from dashboard.evidence import published, runs_beside, score_words
from dashboard.evidence.scores_table import Measured, grouped
from dashboard.text import md
from dashboard.widgets import current_run, page_style
from dashboard.widgets.scope_names import IN_WORDS

ACROSS = ("Unlearn Success", "Never-knew score")
ACROSS_HELP = (
    "**Unlearn Success** is the paper's measure: it goes on rising beyond the never-taught model, where answers "
    "turn into noise or refusals.  \n"
    "**Never-knew score** is highest where the model answers as if it had never been taught."
)
FORMULA = (
    "x and y as in the table. The front: runs on the current run's data that no other such run equals in both and "
    "beats in one"
)


def show(chosen: Sequence[Measured], split: str, paper: str) -> None:
    """Show the scatter with its controls."""
    st.subheader("Forgetting against keeping")
    palette = page_style.palette()
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        across = st.segmented_control(
            "Across",
            ACROSS,
            key="across",
            default=ACROSS[0],
            required=True,
            bind="query-params",
            help=ACROSS_HELP,
            label_visibility="collapsed",
        )
        theirs = st.toggle(
            "Published, 7B",
            key="published",
            bind="query-params",
            disabled=across != ACROSS[0],
            help="The paper's own runs on 7B models: other models, other training. Never-knew scores were not published.",
        )
    marks = points(chosen, split, across)
    alike = {run.run.id for run in chosen if asked(run, split) == asked(chosen[0], split)}
    compared = [p for p in marks if p.id in alike]
    front = tradeoff.front(compared) if len(compared) > 1 else []  # one run is no front
    sentence = score_words.best(
        [(p.name, p.x, p.y) for p in compared], len(front), across, ignorance(chosen[:1], split, across)
    )
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
        f"{across}, %",
        ignorance(chosen, split, across),
        front,
    )
    page_style.chart(
        tradeoff.draw(what, palette),
        f"{across} against Retention Success. {sentence}",
        "tradeoff",
        on_click=partial(_open, [run.run.id for run in chosen]),
        facts=page_style.where(chosen[0].run, "evaluate", "metrics.json of each run", FORMULA, IN_WORDS[split]),
        columns=columns(marks),
    )
    bars = "Bars are 95 % intervals over the questions. " if any(p.x_ends or p.y_ends for p in marks) else ""
    st.caption(f"{bars}A click on a point makes that run the current one.")


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


def points(chosen: Sequence[Measured], split: str, across: str) -> list[Point]:
    """Return the runs that have both numbers; the first chosen one is the current run."""
    marks = []
    for index, run in enumerate(chosen):
        x = _across(run, split, across)
        y = run.scores.success("after", "retention", split)
        if x.value is not None and y.value is not None:
            name = f"{run.name} ({run.trouble})" if run.trouble else run.name
            marks.append(Point(run.run.id, name, x.value, y.value, _ends(x), _ends(y), index == 0))
    return marks


def missing(chosen: Sequence[Measured], split: str, across: str) -> str:
    """Name the runs without a point, each with the reason."""
    names = []
    for run in chosen:
        values = (_across(run, split, across), run.scores.success("after", "retention", split))
        reasons = [value.reason for value in values if value.value is None]
        names += [f"“{run.name}” ({reasons[0]})"] if reasons else []
    return ", ".join(names)


def _across(run: Measured, split: str, across: str) -> Value:
    if across == ACROSS[0]:
        return run.scores.success("after", "unlearn", split)
    return run.scores.value("never_knew", "after", split)


def _ends(value: Value) -> tuple[float, float] | None:
    return None if value.low is None or value.high is None else (value.low, value.high)


def references(chosen: Sequence[Measured], split: str, across: str, paper: str) -> list[Reference]:
    """Return before and never taught of each group of runs; on the never-knew axis both are known by definition."""
    marks = []
    for group in grouped(chosen, split):
        for voice, name in (("before", "Before unlearning"), ("never", "Never taught")):
            scores = group[0].scores
            x, y = scores.success(voice, "unlearn", split).value, scores.success(voice, "retention", split).value
            if x is not None and y is not None:
                x = x if across == ACROSS[0] else {"before": 0.0, "never": 100.0}[voice]
                marks.append(Reference(f"{name} ({group[0].name})", x, y, voice))
    for row in published.read().tables[paper] if paper and across == ACROSS[0] else ():
        marks.append(Reference(row.name, row.values["unlearn_success"], row.values["retention_success"], "published"))
    return marks


def ignorance(chosen: Sequence[Measured], split: str, across: str) -> float | None:
    """Return the never-taught model's Unlearn Success for the first run, where that of no other differs from it."""
    if across != ACROSS[0]:
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
        "retention": [p.y for p in points],
        "x low": [p.x_ends and p.x_ends[0] for p in points],
        "x high": [p.x_ends and p.x_ends[1] for p in points],
        "retention low": [p.y_ends and p.y_ends[0] for p in points],
        "retention high": [p.y_ends and p.y_ends[1] for p in points],
    }


def _open(chosen: Sequence[str], name: object) -> None:
    """Make a clicked run the current one; the others, the one it replaces among them, stay beside it."""
    if name in current_run.known_runs():
        runs_beside.put([other for other in chosen if other != name])
        current_run.open_run(str(name))
