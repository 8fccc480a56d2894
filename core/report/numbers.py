"""Every score of a run as rows of a table: each voice's value with its interval, beside the never-taught reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.jobs import controls
from core.metrics import METRICS
from core.runs.scores import Scores, Value
from core.runs.store import Run
from core.runs.voices import SPOKEN, VOICE_NAMES

PARTS = {
    "unlearn/train": "U, questions it was unlearned on",
    "unlearn/dev": "U, held out",
    "unlearn/val": "U, new questions",
    "retention/train": "R, questions it was unlearned on",
    "retention/dev": "R, held out",
    "retention/val": "R, new questions",
}
"""what a reader is told instead of scope/split"""


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
                {"part": PARTS.get(part, part), "cells": {voice: cell(measured, name, voice, part) for voice in SPOKEN}}
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
        ("degenerate", "Degenerate answers", PARTS),
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
        name = "this run" if row.get("role") == "given" else str(row.get("control") or row.get("run"))
        rows.append({"name": name, "cell": average, "state": str(row.get("state"))})
    return {"sentence": result.sentence, "rows": rows, "sweep": result.sweep}


def _cell(score: Value) -> dict[str, float | None] | None:
    return None if score.value is None else {"value": score.value, "low": score.low, "high": score.high}
