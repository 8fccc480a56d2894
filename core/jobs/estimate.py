"""What a few measured steps say that a run would cost, and whether it fits: how to ask for it and what was found.

A process waits for the device like any other, makes a few real steps of every stage (core/plan/measure.py) and writes
plan.json. Its folder, RUNS/.plans/HASH/, is laid out like a run's, so it is followed, cancelled and found dead in the same
way. The same configuration on the same data is measured once. No heavy import.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from core.config import run_config as config_
from core.config.run_config import RunConfig
from core.jobs import lifecycle
from core.plan import admission
from core.runs.layout import KINDS
from core.runs.store import Run

STEPS = {
    "known": "what the model knows already",
    "forward": "scoring of answers",
    "teaching": "two teaching steps",
    "talking": "generation of answers",
    "localizing": "gradients of one batch",
    "unlearning": "a few unlearning steps",
    "comparing": "teaching without what is to be forgotten",
}
"""name of a measurement in status.json -> what it is, in words"""


def job_folder(config: RunConfig, folder: Path, data: str = "") -> Run:
    """Return where the estimate for a configuration lies (whether or not it exists); `data` identifies the examples."""
    values = {key: value for key, value in config.to_json().items() if key not in ("name", "preset")}
    text = json.dumps([values, data], sort_keys=True)
    return Run(folder / KINDS["estimate"].folder / hashlib.sha256(text.encode()).hexdigest()[:20])


def start(at: Run, config: RunConfig) -> None:
    """Measure, unless somebody is already at it. The process outlives whoever started it. Raises UserError for what would
    end the run.
    """
    admission.check(config, at.path.parent.parent)
    lifecycle.begin("estimate", at, config, {}, "plan.json", "worker.log")


def result(at: Run) -> dict[str, Any] | None:
    """Return a finished estimate's figures, None where there are none."""
    figures = at.json("plan.json")
    return figures if isinstance(figures, dict) and figures.get("format") == config_.FORMAT else None


def lines(figures: dict[str, Any]) -> list[str]:
    """Return an estimate as lines of text."""
    knows = figures["knows"]
    rows = [
        (
            f"As it is, the model predicts {knows['unlearn']:.0f} % of the answers' words of U and "
            f"{knows['retention']:.0f} % of R."
        )
    ]
    for cost in figures["stages"]:
        rows.append(f"{cost['name']:10} {cost['low']:8.1f} to {cost['high']:8.1f} s  {cost['how']}")
    total = figures["total"]
    return [*rows, f"{'total':10} {total['low']:8.1f} to {total['high']:8.1f} s", *figures["notes"]]
