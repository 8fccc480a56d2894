"""What the tests of Evidence share: runs with scores, and names that hurt."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from streamlit.testing.v1 import AppTest

from core.runs import store
from core.runs.scores import Scores
from core.runs.store import Run
from dashboard.charts.tradeoff import Point
from dashboard.evidence import scores_table
from tests.dashboard.conftest import Open

HOSTILE = "<img src=x onerror=alert(1)> **b** :red[r] $x$"
PARTS = (
    "Scores",
    "Trade-off",
    "Steps",
    "Cost",
    "Metrics",
    "One subject",
    "Rules",
    "Leak probes",
    "Every example",
)


def bundled() -> Run:
    return next(run for run in store.bundled_runs() if run.id.startswith("privacy"))


def measured(run: Run, name: str = "a run") -> scores_table.Measured:
    return scores_table.measured(run, name, "memflex · located", "demo privacy")


def edit(run: Run, file: str, change: Any) -> None:
    values = run.json(file)
    change(values)
    (run.path / file).write_text(json.dumps(values))


def with_intervals(values: dict[str, Any]) -> None:
    """Give accuracy and never-knew score intervals: 4 below, 6 above."""
    for name in ("accuracy", "never_knew"):
        metric = values["metrics"][name]
        metric["intervals"] = {v: {p: [x - 4, x + 6] for p, x in parts.items()} for v, parts in metric["values"].items()}


def part(open_page: Open, name: str, run: str = "", **query: str) -> AppTest:
    return open_page("evidence", run, part=name, **query)


def accuracies(
    before: float, after: float, never: float | None, noise: float = 0.0, never_noise: float = 10.0, declined: float = 0.0
) -> Scores:
    values = {
        "before": {"unlearn/val": before, "retention/val": 99.0},
        "after": {"unlearn/val": after, "retention/val": 80.0},
    }
    if never is not None:
        values["never"] = {"unlearn/val": never, "retention/val": 30.0}
    return Scores(
        {
            "accuracy": {"values": values, "reasons": {"never": "nothing was taught"}},
            "degenerate": {"values": {"after": {"unlearn/val": noise}, "never": {"unlearn/val": never_noise}}},
            "refusal": {"values": {"after": {"unlearn/val": declined}}},
        }
    )


def some_points(count: int, seed: int = 0) -> list[Point]:
    draw = np.random.default_rng(seed)
    return [Point(f"r{i}", f"run {i}", *map(float, draw.integers(0, 100, 2)), current=i == 0) for i in range(count)]
