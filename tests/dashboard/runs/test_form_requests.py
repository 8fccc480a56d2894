"""Requests that keep coming, from the form to what became of the first subject."""

from __future__ import annotations

import pytest

from core.jobs import lifecycle, unlearning_series
from core.jobs import sweep as sweep_
from core.runs import store
from core.runs.store import Run
from core.util import files
from tests.dashboard.conftest import Open, text_of

SUBJECTS = ["Anjali Varmekar", "Haruka Minatsuji"]


def test_subjects_are_forgotten_one_after_the_other(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(lifecycle, "start", lambda kind, work: started.append(work.path.name) or 1)
    app = open_page("runs", view="New run")
    app.toggle(key="new.requests").set_value(True).run()
    app.multiselect(key="new.requests.order").set_value(SUBJECTS[:1]).run()
    assert next(b for b in app.button if b.label == "Start").disabled
    app.multiselect(key="new.requests.order").set_value(SUBJECTS).run()
    next(b for b in app.button if b.label == "Start").click().run()
    assert not app.exception
    (series,) = sweep_.list_sweeps(store.runs_folder())
    assert started == [series.id]
    configs = [run.config() for run in sweep_.members(series)]
    assert [config.data.forget for config in configs] == [(subject,) for subject in SUBJECTS]
    assert configs[1].teach.from_run == series.entries()[0].run.id
    assert app.query_params["view"] == "Queue and sweeps"


def test_what_became_of_the_first_is_told(open_page: Open) -> None:
    states = [
        {
            "state": state,
            "run": "",
            "unlearn": {s: {"val": now[i]} for i, s in enumerate(SUBJECTS)},
            "retention": {"val": 90.0},
        }
        for state, now in (
            (unlearning_series.TAUGHT, (95.0, 95.0)),
            (SUBJECTS[0], (40.0, 94.0)),
            (SUBJECTS[1], (62.0, 41.0)),
        )
    ]
    place = sweep_.home(store.runs_folder()) / "20260101-000000-requests-0000"
    place.mkdir(parents=True)
    record = {"format": 1, "kind": "requests", "name": "mine", "asked": {"subjects": SUBJECTS}, "runs": []}
    files.write_json(place / "sweep.json", record)
    files.write_json(place / "status.json", store.fresh_status() | {"state": "done"})
    files.write_json(place / "requests.json", {"format": 1, "subjects": SUBJECTS, "states": states})
    assert sweep_.find(place.name, store.runs_folder()).as_run == Run(place)
    said = text_of(open_page("runs", view="Queue and sweeps")).replace("\\", "")
    assert "Anjali Varmekar came back in part" in said
    assert "62.0" in said
