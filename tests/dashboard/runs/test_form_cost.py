"""The Run page: measuring first."""

from __future__ import annotations

from typing import Any

import pytest

from core.config.presets import DEFAULT
from core.config.run_config import preset
from core.data import sources
from core.jobs import estimate
from core.runs import store
from core.runs.store import Run
from core.util import files
from tests.dashboard.conftest import Open, reports
from tests.dashboard.run_made import bars, plain, said


def planned(state: str, **status: Any) -> Run:
    """Leave a plan for the form's own configuration."""
    config = preset(DEFAULT)
    made = estimate.job_folder(config, store.runs_folder(), sources.load(config.data).fingerprint())
    return reports(made, state, **status)


FOUND = {
    "format": 1,
    "knows": {"unlearn": 37.0, "retention": 41.0, "examples": 48},
    "region": {"count": 87, "total": 420},
    "notes": ["Every fifth tensor was timed."],
    "total": {"low": 238.0, "high": 305.0},
    "peak_memory_mb": 2672,
    "device": "cpu",
    "dtype": "bfloat16",
    "steps": {},
    "measured": 1.0,
    "seconds": 113.0,
    "stages": [
        {"name": "teach", "low": 0.0, "high": 0.0, "how": "an earlier run taught exactly this", "reused": True},
        {"name": "unlearn", "low": 66.0, "high": 81.0, "how": "12 steps at 4.4 s", "reused": False},
    ],
}


def test_a_measured_plan_is_shown_again_without_measuring(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_json(planned("done").path / "plan.json", FOUND)
    monkeypatch.setattr(estimate, "start", lambda *_: pytest.fail("measured again"))
    app = open_page("runs", view="New run")
    assert not app.exception
    assert "3 min 58 s to 5 min 5 s" in said(app)
    assert "predicts **37 %**" in said(app)
    assert "it has to be taught" in said(app)
    table = next(t for t in app.table if "stage" in t.value).value
    assert list(table["time"]) == ["re-used", "1 min 6 s to 1 min 21 s"]


def test_measuring_starts_waits_goes_on_and_can_be_cancelled(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr(estimate, "start", lambda made, config: started.append((made, config)))
    app = open_page("runs", view="New run")
    next(b for b in app.button if b.label == "Measure first").click().run()
    made = planned("queued", position=2)
    assert started[0] == (made, preset(DEFAULT))
    app.run()
    assert "Number 2 in the queue: one run at a time uses the device." in said(app)
    stages = {"known": {"state": "done"}, "forward": {"state": "running"}}
    reports(made, "running", stage="forward", stages=stages)
    app.run()
    assert "Measuring, 1 of 7: scoring of answers" in bars(app)
    next(b for b in app.button if b.label == "Cancel measuring").click().run()
    assert (made.path / "cancel").exists()


def test_a_refused_plan_says_the_numbers(open_page: Open) -> None:
    planned("failed", error="It needs about 15.4 GB; 2.0 GB are free.", fix="Choose a smaller model.")
    app = open_page("runs", view="New run")
    assert "15.4 GB" in plain(app.error[0].value)
    assert any(b.label == "Measure again" for b in app.button)
