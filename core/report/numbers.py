"""Every score of a run as rows of a table: each voice's value with its interval, beside the never-taught reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.data.corpus import UNKNOWN
from core.jobs import controls, sweep_scores
from core.metrics import METRICS, intervals
from core.metrics.asked import OUTCOMES
from core.report import in_short
from core.runs import asked
from core.runs.asked import KIND_NAMES
from core.runs.scores import Scores, Value
from core.runs.store import Run
from core.runs.voices import SPOKEN, VOICE_NAMES

SCOPES = {"unlearn": "U", "retention": "R", UNKNOWN: "told nowhere"}
PARTS = {
    f"{scope}/{split}": f"{SCOPES[scope]}, {KIND_NAMES[split]}"
    for scope in ("unlearn", "retention")
    for split in ("train", "dev", "val")
}
"""what a reader is told instead of scope/split"""


def part_name(part: str) -> str:
    """Return what a reader is told instead of scope/kind/outcome, or whatever a metric divides by."""
    names = SCOPES | KIND_NAMES
    return ", ".join(names.get(word) or asked.outcome_name(word).replace("_", " ") for word in part.split("/"))


def said(measured: Scores, counts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what generated answers say, as `core.runs.asked` counts it: rows, the kind that says the most, sentences, and
    the answer in one, what every kind of question together still gets, and the kind that decides what was kept.

    counts: of verdicts, by scope, kind, voice: a run that is older than the metric has these alone, and no sentences.
    """
    rows = [{**asdict(row), "count": row.count} for row in asked.table(measured)] or _counted(counts)
    kinds = {row["kind"] for row in rows}
    kind = asked.kind_asked(measured) or next((name for name in KIND_NAMES if name in kinds), "")
    return {
        "rows": rows,
        "kind": kind,
        "sentences": [*filter(None, (asked.sentence(measured), asked.contradiction(measured)))],
        "answer": in_short.answer(measured),
        "every_kind": in_short.every_kind(measured),
        "kept_by": in_short.kept_by(measured) or kind,
        "besides": asked.besides(measured),
    }


def _counted(counts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows as `core.runs.asked.table` has them, of verdicts that were counted."""
    groups: dict[tuple[str, str, str], dict[str, int]] = {}
    for row in counts:
        outcome = OUTCOMES[row["scope"]][row["verdict"]]
        groups.setdefault((row["voice"], row["kind"], row["scope"]), {})[outcome] = row["count"]
    rows = []
    for (voice, kind, scope), found in groups.items():
        n = sum(found.values())
        for outcome in asked.OUTCOMES[scope]:
            hits = found.get(outcome, 0)
            rate = intervals.rate([1.0] * hits + [0.0] * (n - hits))
            share = {"share": rate["value"], "low": rate["low"], "high": rate["high"], "count": hits}
            rows.append({"voice": voice, "kind": kind, "scope": scope, "outcome": outcome, "n": n, **share})
    return rows


def success(measured: Scores) -> list[dict[str, Any]]:
    """Return Unlearn Success and Retention Success (percent, 100 − accuracy and accuracy) of every part, by voice."""
    rows = []
    for part, words in PARTS.items():
        scope, split = part.split("/")
        cells = {voice: _cell(measured.success(voice, scope, split)) for voice in SPOKEN}
        if any(cells.values()):
            name = "Unlearn Success" if scope == "unlearn" else "Retention Success"
            rows.append({"name": name, "part": words, "key": part, "cells": cells})
    return rows


def metrics(measured: Scores) -> list[dict[str, Any]]:
    """Return every metric: name, unit, meaning, and its values by part and voice, or why there are none."""
    return [
        {
            "name": name,
            "unit": metric.unit,
            "help": metric.help,
            "better": metric.better,
            "rows": [
                {"part": part_name(part), "cells": {voice: cell(measured, name, voice, part) for voice in SPOKEN}}
                for part in measured.parts(name)
            ],
            "reasons": [
                {"voice": VOICE_NAMES.get(voice, "No value"), "why": why} for voice, why in measured.reasons(name).items()
            ],
            "notes": measured.notes(name),
        }
        for name, metric in METRICS.items()
        if name in measured.metrics
    ]


def main(measured: Scores) -> list[dict[str, Any]]:
    """Return never-knew score and share of degenerate answers, which belong beside any success."""
    rows = []
    for metric, title, parts in (
        ("never_knew", "Never-knew score", {"train": PARTS["unlearn/train"], "val": PARTS["unlearn/val"]}),
        ("degenerate", "Answers that are gibberish", PARTS),
    ):
        for part, words in parts.items():
            cells = {voice: cell(measured, metric, voice, part) for voice in SPOKEN}
            if any(cells.values()):
                rows.append({"name": title, "part": words, "key": f"{metric}/{part}", "cells": cells})
    return rows


def cell(measured: Scores, metric: str, voice: str, part: str) -> dict[str, float | None] | None:
    """Return a score with the ends of its interval (None where it has none), None where it was not measured."""
    return _cell(measured.value(metric, voice, part))


def region_controls(run: Run, folder: Path) -> dict[str, Any] | None:
    """Return what the latest controls of a run say: rows with average success on val, and the sentence; else None."""
    result = controls.read(run, folder)
    if result is None or not result.rows:
        return None
    rows = []
    for row in result.rows:
        ends = row.get("interval")
        average = {"value": ends[0], "low": ends[1], "high": ends[2]} if ends else None
        title = "this run" if row.get("role") == "given" else str(row.get("control") or row.get("run"))
        answers = [sweep_scores.said(row, name) for name in sweep_scores.SAID]
        rows.append({"name": title, "said": answers, "cell": average, "state": str(row.get("state"))})
    return {"sentence": result.sentence, "rows": rows, "sweep": result.sweep}


def _cell(score: Value) -> dict[str, float | None] | None:
    return None if score.value is None else {"value": score.value, "low": score.low, "high": score.high}
