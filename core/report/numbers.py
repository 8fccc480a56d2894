"""Every score of a run as rows of a table: each voice's value with its interval, beside the never-taught reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.jobs import controls as controls_
from core.metrics import METRICS
from core.runs.store import Run
from core.runs.voices import VOICES
from core.util.safe_read import mapping, number

VOICE_NAMES = {"before": "Before", "after": "After", "never": "Never taught", "retrained": "Taught without U"}
PARTS = {
    "unlearn/train": "U, questions it was unlearned on",
    "unlearn/dev": "U, held out",
    "unlearn/val": "U, new questions",
    "retention/train": "R, questions it was unlearned on",
    "retention/dev": "R, held out",
    "retention/val": "R, new questions",
}
"""what a reader is told instead of scope/split"""


def success(run: Run) -> list[dict[str, Any]]:
    """Return Unlearn Success and Retention Success (percent, 100 − accuracy and accuracy) of every part, by voice."""
    of = _metric(run, "accuracy")
    rows = []
    for part, words in PARTS.items():
        forgets = part.startswith("unlearn")
        cells = {voice: _cell(of, voice, part, flipped=forgets) for voice in VOICES}
        if any(cells.values()):
            rows.append(
                {"name": "Unlearn Success" if forgets else "Retention Success", "part": words, "key": part, "cells": cells}
            )
    return rows


def metrics(run: Run) -> list[dict[str, Any]]:
    """Return every metric: name, unit, meaning, and its values by part and voice, or why there are none."""
    found = []
    for name, metric in METRICS.items():
        of = _metric(run, name)
        if not of:
            continue
        parts = dict.fromkeys(part for values in mapping(of.get("values")).values() for part in mapping(values))
        rows = [{"part": PARTS.get(part, part), "cells": {v: _cell(of, v, part) for v in VOICES}} for part in parts]
        reasons = [
            {"voice": VOICE_NAMES.get(v, "No value"), "why": str(why)} for v, why in mapping(of.get("reasons")).items()
        ]
        notes = [str(note) for note in of.get("notes") or ()]
        found.append(
            {
                "name": name,
                "unit": metric.unit,
                "help": metric.help,
                "better": metric.better,
                "rows": rows,
                "reasons": reasons,
                "notes": notes,
            }
        )
    return found


def main(run: Run) -> list[dict[str, Any]]:
    """Return never-knew score and share of degenerate answers, which belong beside any success."""
    rows = []
    for name, title, parts in (
        ("never_knew", "Never-knew score", {"train": PARTS["unlearn/train"], "val": PARTS["unlearn/val"]}),
        ("degenerate", "Degenerate answers", PARTS),
    ):
        of = _metric(run, name)
        for part, words in parts.items():
            cells = {voice: _cell(of, voice, part) for voice in VOICES}
            if any(cells.values()):
                rows.append({"name": title, "part": words, "key": f"{name}/{part}", "cells": cells})
    return rows


def values(run: Run, metric: str) -> dict[str, dict[str, float]]:
    """Return voice -> part -> value of a metric in metrics.json."""
    found = mapping(_metric(run, metric), "values")
    return {
        voice: {part: of for part, value in mapping(parts).items() if (of := number(value)) is not None}
        for voice, parts in found.items()
    }


def cell(run: Run, metric: str, voice: str, part: str) -> dict[str, float | None] | None:
    """Return one number of metrics.json with the ends of its interval, None where it is not there."""
    return _cell(_metric(run, metric), voice, part)


def controls(run: Run, folder: Path) -> dict[str, Any] | None:
    """Return what the latest controls of a run say: rows with average success on val, and the sentence; else None."""
    found = controls_.read(run, folder)
    if found is None or not found.rows:
        return None
    rows = []
    for row in found.rows:
        ends = row.get("interval")
        cell = {"value": ends[0], "low": ends[1], "high": ends[2]} if ends else None
        name = "this run" if row.get("role") == "given" else str(row.get("control") or row.get("run"))
        rows.append({"name": name, "cell": cell, "state": str(row.get("state"))})
    return {"sentence": found.sentence, "rows": rows, "sweep": found.sweep}


def _metric(run: Run, name: str) -> dict[str, Any]:
    return mapping(run.json("metrics.json"), "metrics", name)


def _cell(of: Mapping[str, Any], voice: str, part: str, *, flipped: bool = False) -> dict[str, float | None] | None:
    """Return a value with the ends of its interval (None where it has none)."""
    found = number(mapping(of, "values", voice).get(part))
    if found is None:
        return None
    ends = mapping(of, "intervals", voice).get(part)
    known = ends if isinstance(ends, list) and len(ends) == 2 else (None, None)
    low, high = number(known[0]), number(known[1])
    if flipped:
        found, low, high = 100 - found, None if high is None else 100 - high, None if low is None else 100 - low
    return {"value": found, "low": low, "high": high}
