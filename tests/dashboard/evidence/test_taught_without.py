"""The model that was taught all but U, offered beside a run's scores."""

from __future__ import annotations

from typing import Any

import pytest

from core.jobs import reference
from core.runs import layout
from core.runs.store import Run
from core.runs.voices import VOICE
from tests.dashboard.conftest import MakeRun, Open, reports, text_of
from tests.dashboard.scores_made import bundled, edit


def without(run: Run) -> None:
    """Take the voice out of a run's scores."""

    def less(values: dict[str, Any]) -> None:
        for metric in values["metrics"].values():
            metric["values"].pop(VOICE, None)

    edit(run, "metrics.json", less)


def test_it_is_offered_where_it_is_missing_started_and_watched(
    make_run: MakeRun, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("mine")
    without(run)

    def start(run: Run) -> Run:
        reference.check(run)
        work = layout.job_folder("reference", run)
        at = {"state": "running", "done": 30, "total": 390, "unit": "steps", "left": 600}
        return reports(work, "running", stage="retrain", stages={"retrain": at})

    monkeypatch.setattr(reference, "start", start)
    app = open_page("evidence", "mine", part="Scores")
    assert "What the model would be had it never seen U" in text_of(app)
    app.button(key="reference.start").click().run()
    assert not app.exception
    assert "30 of 390 steps, 10 min" in str([bar.proto.text for bar in app.get("progress")]).replace("\\", "")
    app.button(key="reference.cancel").click().run()
    assert (layout.job_folder("reference", run).path / "cancel").exists()


def test_it_is_not_offered_where_it_is_there_or_cannot_be(make_run: MakeRun, open_page: Open) -> None:
    assert "reference.start" not in [button.key for button in open_page("evidence", bundled().id, part="Scores").button]
    run = make_run("audit")
    without(run)
    (run.path / "teach.json").unlink()
    assert "reference.start" not in [button.key for button in open_page("evidence", "audit", part="Scores").button]
