"""Every metric of the current run: its value for each voice, its interval, or why it is missing; and each question's values
as a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import streamlit as st

from core.metrics import METRICS
from core.runs.asked import KIND_NAMES, outcome_name
from core.runs.scores import UNMEASURED, Scores, Value
from core.runs.voices import SPOKEN, VOICE_NAMES
from core.util import csv_safe
from dashboard.charts.base import SCOPE_NAMES
from dashboard.evidence.scores_table import Measured
from dashboard.text import number
from dashboard.widgets import current_run, headline_scores, number_table, page_style
from dashboard.widgets.number_table import Cell, Column, Row, Table
from dashboard.widgets.scope_names import SCORE_SPLITS

WAY_ON = "A new run measures them where the setting “extras” of its last stage is on, as it is at first."
LISTED = ("question", "truth")


def show(current: Measured, split: str) -> None:
    """Show the table and offer the file."""
    metric_table = table(current.scores, split)
    st.markdown(in_words(metric_table))
    st.html(number_table.markup(metric_table, page_style.palette()))
    with st.container(horizontal=True, vertical_alignment="center"):
        headline_scores.where_from(
            page_style.where(current.run, "evaluate", "metrics.json", "each metric's own formula: python -m core metrics"),
            "metrics_from",
        )
        st.download_button(
            "Each question's values",
            data=lambda: per_example(current.scores, current_run.answers(current.run)).encode(),
            file_name=f"{current.run.id}-examples.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            help="A row a question, a column a metric and voice; as CSV",
        )


def in_words(metric_table: Table) -> str:
    """Say how much was measured."""
    count = sum(not row.cells and row.kind != "missing" for row in metric_table.rows)
    if not any(row.kind == "missing" for row in metric_table.rows):
        return f"{count} metrics, all of them with values."
    return f"{count} metrics with values; the others stand below them, with the reason."


def table(scores: Scores, split: str) -> Table:
    """Return a heading a metric and under it a row a part; after them the metrics that are missing, each with its reason."""
    recorded = {voice for metric in scores.metrics for voice in scores.voices(metric)}
    # A score without its references says little: they are shown even where they are missing.
    voices = [voice for voice in VOICE_NAMES if voice in SPOKEN or voice in recorded]
    voices += sorted(recorded - set(voices))
    each = [metric_rows(scores, name, split, voices) for name in dict.fromkeys([*METRICS, *scores.metrics])]
    rows = [row for rows in sorted(each, key=lambda rows: rows[0].kind == "missing") for row in rows]
    # Those that were only never measured share one line; what else is missing has a reason of its own.
    never = [row.name for row in rows if row.note == UNMEASURED]
    rows = [row for row in rows if row.note != UNMEASURED]
    if never:
        rows.append(
            Row(f"{len(never)} more, not measured in this run", note=f"{', '.join(never)}. {WAY_ON}", kind="missing")
        )
    return Table(f"All metrics of the run on {split}", "", [Column(VOICE_NAMES.get(voice, voice)) for voice in voices], rows)


def metric_rows(scores: Scores, name: str, split: str, voices: Sequence[str]) -> list[Row]:
    """Return the rows of one metric."""
    metric = METRICS.get(name)
    unit = metric.unit if metric else scores.unit(name)
    help_ = (
        f"{metric.help[:1].upper()}{metric.help[1:]}. Wanted: {metric.better}"
        if metric
        else "Measured by a version of Forgetscope with other metrics"
    )
    title = f"{called(name)}{f', {unit}' if unit else ''}"
    parts = [part for part in scores.parts(name) if of_split(part, split)]
    reasons = [f"{VOICE_NAMES.get(v, v)}: {text}" if v != "all" else text for v, text in scores.reasons(name).items()]
    if not parts:
        if not scores.voices(name) and not reasons:
            return [Row(title, note=UNMEASURED, kind="missing")]
        why = "; ".join(reasons) or f"not measured on {split}"
        return [Row(title, note=f"{help_}. Not available, because: {why}", kind="missing")]
    missing = f" Missing: {'; '.join(reasons)}." if reasons else ""
    notes = "".join(f" {note[:1].upper()}{note[1:]}." for note in scores.notes(name))
    return [
        Row(title, note=f"{help_}.{notes}{missing}"),
        *(Row(part_name(p), [written(scores.value(name, v, p), unit) for v in voices]) for p in parts),
    ]


def of_split(part: str, split: str) -> bool:
    """Say whether a part belongs to a split, or to none: scope/split, split, split/variant, or anything else.

    To val belong all kinds of question that are held out from unlearning.
    """
    named = [word if word in SCORE_SPLITS else "val" for word in part.split("/") if word in KIND_NAMES]
    return not named or split in named


def part_name(part: str) -> str:
    """Return a part in words; its split is the one that the whole page shows."""
    words = [word for word in part.split("/") if word not in SCORE_SPLITS]
    names = SCOPE_NAMES | KIND_NAMES
    return ", ".join(names.get(word) or outcome_name(word).replace("_", " ") for word in words) or "all"


def called(name: str) -> str:
    """Return what a reader is told instead of a metric's name; one that only another version knows keeps it."""
    return METRICS[name].title if name in METRICS else name.replace("_", " ")


def written(value: Value, unit: str) -> Cell:
    """Write a value with its interval; percentages, which stand beside each other, all with one decimal."""
    if value.value is None:
        return Cell(title=value.reason)
    half, digits = value.half, 1 if unit == "%" else decimals(value.value)
    ends = "" if half is None else f"95 % interval {value.low:.{digits}f} to {value.high:.{digits}f}"
    text = f"{value.value:.{digits}f}" if abs(value.value) < 10_000 else number(value.value)
    return Cell(text, value.around(digits), ends)


def decimals(value: float) -> int:
    """Return how many decimals show three digits: 99.9, 1.03, 0.0042; 0 gets one."""
    return 1 if value == 0 or abs(value) >= 10 else min(6, 2 - math.floor(math.log10(abs(value))))


def per_example(scores: Scores, rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a CSV, a row a question, with each metric's value of each voice. No cell is read as a formula."""
    values = {
        (metric, voice): by_example for metric in scores.metrics for voice, by_example in scores.examples(metric).items()
    }
    heads = ("example", "scope", "split", "subject", *LISTED)
    table: list[list[Any]] = [[*heads, *(f"{called(metric)} {voice}" for metric, voice in values)]]
    for row in rows:
        name = str(row.get("example", ""))
        table.append(
            [*(str(row.get(head, "")) for head in heads), *(by_example.get(name) for by_example in values.values())]
        )
    return csv_safe.written(table)
