"""Planted truth on the page Localize: read, shown, offered, watched, and said beside the map."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from streamlit.testing.v1 import AppTest

from core.jobs import planting
from core.localization import plantings
from core.regions import Located
from core.runs import store
from core.runs.store import Run
from core.util.errors import UserError
from dashboard.charts import planted
from dashboard.charts.palette import DARK, LIGHT
from dashboard.localize import planted_truth
from dashboard.text import md
from dashboard.widgets.plot import plain
from tests.dashboard.conftest import MakeRun, Open, reports, text_of
from tests.dashboard.planted_made import MODULES, one_planting, record_of
from tests.dashboard.scores_made import HOSTILE, edit

Plant = Callable[..., Path]


@pytest.fixture
def plant() -> Plant:
    """Return a function that puts a planted.json into the runs folder."""

    def made(model: str = "bundled", ones: list[dict[str, Any]] | None = None, name: str = "aaaa", **other: Any) -> Path:
        path = store.runs_folder() / ".plantings" / name / planting.FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record_of(ones or [one_planting(better=9.0)], model, **other)))
        return path

    return made


@pytest.fixture(autouse=True)
def ships(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let nothing ship but what a test puts there."""
    path = tmp_path / "shipped.json"
    monkeypatch.setattr(planting, "SHIPPED", path)
    return path


# -- what belongs to a model


def test_the_newest_planting_in_a_model_counts_and_what_ships_comes_last(plant: Plant, ships: Path) -> None:
    plant(name="shipped", data="ships").rename(ships)
    old, new = plant(name="old", data="old"), plant(name="new", data="new")
    plant("other/model", name="others", data="other")
    os.utime(old, (1e9, 1e9))

    def of(model: str) -> Any:
        return planting.of_model(model, planting.records(store.runs_folder())).get("data")

    assert of("bundled") == "new"
    new.write_text('{"format": 1, "model": "bundled"')
    assert of("bundled") == "old"
    old.unlink()
    assert of("bundled") == "ships"
    assert of("other/model") == "other"
    assert of("nobody/planted-here") is None


@pytest.mark.parametrize(
    "broken",
    [
        {"plantings": []},
        {"plantings": ["text"]},
        {"plantings": [one_planting() | {"sets": [0]}]},
        {"plantings": [one_planting() | {"plant": []}]},
        {"plantings": [one_planting() | {"scores": {}}]},
        {"plantings": [one_planting() | {"found": None}]},
        {"settings": {}},
        {"settings": {"cells": 0}},
        {"scores": {}},
        {"scores": {"pull": {"auc_retention": "high"}}},
        {"format": 2},
    ],
)
def test_a_record_that_lacks_something_counts_as_none(plant: Plant, broken: dict[str, Any]) -> None:
    files = [plant()]
    assert planting.of_model("bundled", files)
    plant(**broken)
    assert planting.of_model("bundled", files) == {}


# -- the map and its threshold


def test_a_threshold_counts_what_lies_above_it() -> None:
    one = one_planting()
    one["scores"]["pull"] = [5.0, 3.0, None, 4.0, 3.0, *([1.0] * 14), None]
    ranked = planted.modules(one, "pull")
    steps = planted.steps(ranked)
    assert steps.counts == [0, 1, 2, 4, 18, 20]
    assert steps.hits == [0, 1, 1, 2, 2, 3]
    assert steps.values == [None, 5.0, 4.0, 3.0, 1.0, None]
    assert steps.at(3) == 2
    for step, value in list(enumerate(steps.values))[1:-1]:
        above = ranked[ranked["value"] >= value]
        assert (len(above), (above["role"] == "unlearn").sum()) == (steps.counts[step], steps.hits[step])


def test_steps_without_any_value_go_from_none_to_all() -> None:
    one = one_planting()
    one["scores"]["pull"] = [None] * 20
    assert planted.steps(planted.modules(one, "pull")) == planted.Steps([0, 20], [0, 3], [None, None])


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_the_map_outlines_the_planted_modules_and_is_darkest_at_the_best(palette: Any) -> None:
    one = one_planting(better=9.0)
    one["scores"]["removal"][19] = None
    one["modules"] = [*MODULES[:19], f"model.layers.9.{HOSTILE}"]
    ranked = planted.modules(one, "removal")
    fig = planted.heatmap(ranked, palette)
    go.Figure(**plain(fig))
    grid = np.array(fig.data[0].z)
    assert set(ranked["name"][ranked["place"] <= 3]) == set(MODULES[:3])
    assert fig.layout.yaxis["ticktext"][:2] == ["q_proj", "up_proj"]  # as the model has them
    assert np.nanmax(grid) == fig.data[0].zmax == 19
    assert np.isfinite(grid).sum() == 19
    outlines = {trace["name"]: [x for x in trace["x"] if x is not None] for trace in fig.data[1:]}
    assert 1.4 < max(outlines["unlearn"]) < 1.5  # within q and up of layer 0, q of layer 1
    assert "<img" not in json.dumps(plain(fig))


# -- the page


def test_what_was_planted_is_a_table_a_map_and_a_sentence(plant: Plant, open_page: Open) -> None:
    plant(ones=[one_planting(seed, 9.0) for seed in range(3)])
    app = open_page("", store.bundled_runs()[0].id, planted="true")
    assert not app.exception
    said = words_of(app)
    assert "In 3 of 3 plantings the facts went with their modules" in said
    assert "“Loss without it, estimated” does better than the size of the change alone" in said
    best = said.split('<tr class="after">')[1].split("</tr>")[0]
    assert "Loss without it, estimated" in best
    assert ">3<" in best
    assert ">1.00" in best
    assert said.count("To be beaten: ") == 2
    assert "To be beaten: Size of the change" in said
    assert "0.5 expected" in said.split("To be beaten: Chance")[1].split("</tr>")[0]
    app.selectbox(key="planted_which").select(2).run()
    app.selectbox(key="planted_score").select("pull").run()
    assert not app.exception


def test_one_planting_has_the_interval_over_its_modules(plant: Plant) -> None:
    record = planting.of_model("bundled", [plant()])
    lines = {row.name: row for row in planted_truth.table(record).rows}
    row = record["plantings"][0]["found"]["pull"]
    assert lines["Pull to forget"].cells[1].small == f"{row['auc_retention_low']:.2f} to {row['auc_retention_high']:.2f}"
    assert [row.kind for row in planted_truth.table(record).rows][-3:] == ["reference"] * 3


def test_the_sentence_stands_where_the_map_uses_that_score(plant: Plant, open_page: Open) -> None:
    by_rule = next(run for run in store.bundled_runs() if type(run.config().region) is Located)
    late = next(run for run in store.bundled_runs() if type(run.config().region) is not Located)
    said = "Of 3 modules of this model where facts were planted, the paper's rule found"
    assert said not in words_of(open_page("", by_rule.id))
    record = planting.of_model("bundled", [plant()])
    hits = f"{plantings.hits(record, 'located'):.1f}".removesuffix(".0")
    app = open_page("", by_rule.id)
    assert f"{said} {hits}; chance finds 0.5. Where this run's facts lie is unknown." in words_of(app)
    assert said not in words_of(app.segmented_control(key="measure").set_value("Change").run())
    app = open_page("", late.id)
    assert said not in words_of(app)
    assert said in words_of(app.segmented_control(key="measure").set_value("Pull not shared").run())


def words_of(app: AppTest) -> str:
    """What a page says, without the marks that keep Markdown from reading it."""
    return text_of(app).replace("\\", "")


def of_another_model(run: Run, model: str = "nobody/of-this-name") -> Run:
    edit(run, "config.json", lambda values: values["model"].update(name=model))
    return run


def test_another_model_is_offered_a_planting_with_its_time(
    plant: Plant, open_page: Open, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant()
    asked: list[Any] = []
    monkeypatch.setattr(planting, "start", lambda *given: asked.append(given))
    monkeypatch.setattr(planting, "seconds", lambda *_: (725.0, "from the speed of this machine"))
    of_another_model(make_run("mine"))
    app = open_page("", "mine", planted="true")
    said = words_of(app)
    assert "Nothing was planted in this model yet" in said
    assert "It takes about 12 min 5 s (from the speed of this machine)" in said
    app.button(key="planted.start").click().run()
    assert not app.exception
    assert [(given[0].model.name, given[1]) for given in asked] == [("nobody/of-this-name", planting.FEW)]
    assert planting.FEW.all == [(0, 0)]


def test_data_with_too_few_facts_has_no_button_but_a_reason(
    open_page: Open, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UserError(f"There are 3 facts to be forgotten: {HOSTILE}", "Give at least 4 of each.")

    monkeypatch.setattr(planting, "seconds", refuse)
    of_another_model(make_run("few"))
    app = open_page("", "few", planted="true")
    assert not app.exception
    assert md(f"There are 3 facts to be forgotten: {HOSTILE}") in text_of(app)
    assert not [button for button in app.button if button.key == "planted.start"]


def under_way(run: Run, state: str = "running", **status: Any) -> Run:
    """Put the status of a planting into the folder where that of a run reports."""
    return reports(planting.job_folder(run.config(), planting.FEW, store.runs_folder()), state, **status)


def test_a_planting_under_way_shows_how_far_it_is_and_can_be_cancelled(open_page: Open, make_run: MakeRun) -> None:
    run = of_another_model(make_run("mine"))
    stage = {"state": "running", "done": 9, "total": 45, "unit": "steps", "left": 80.0}
    at = under_way(run, stage="planting 1 of 1", stages={"planting 1 of 1": stage})
    app = open_page("", "mine", planted="true")
    assert not app.exception
    bar = app.get("progress")[0].proto
    assert (bar.value, bar.text.replace("\\", "")) == (
        20,
        "Teaching the modules: 9 of 45 steps, 1 min 20 s left for these",
    )
    assert "Nothing was planted" not in text_of(app)
    app.button(key="planted.cancel").click().run()
    assert (at.path / "cancel").exists()
    assert app.button(key="planted.cancel").disabled


def test_a_planting_that_failed_says_why(open_page: Open, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planting, "seconds", lambda *_: None)
    run = of_another_model(make_run("mine"))
    under_way(run, state="failed", error=f"This model has 4 modules. {HOSTILE}", fix="Take another.")
    app = open_page("", "mine", planted="true")
    assert md(f"This model has 4 modules. {HOSTILE}") in app.error[0].value
    assert "How long it takes is not known" in text_of(app)
    assert app.button(key="planted.start")
