"""What can be done with the numbers of Evidence."""

from __future__ import annotations

import re
from typing import Any

import pytest

from core.config.presets import DEFAULT
from core.config.run_config import RunConfig
from core.jobs import lifecycle
from core.methods import METHODS
from core.runs import askable, picked_step, store
from core.runs.store import Run
from dashboard.evidence import tradeoff
from tests.dashboard.conftest import MakeRun, Open, on_other_data, text_of
from tests.dashboard.scores_made import HOSTILE, PARTS, bundled, edit, part, with_intervals


def test_it_opens_on_the_current_run_with_the_bundled_one_of_its_data_beside_it(make_run: MakeRun, open_page: Open) -> None:
    make_run("mine")
    app = part(open_page, "Scores", "mine")
    assert not app.exception
    own = [run.id for run in store.bundled_runs() if run.id.startswith("privacy")]
    assert app.multiselect(key="scores.beside").value == own
    said = text_of(app)
    assert "a model never taught has" in said
    assert "published, 7B" in said
    app.multiselect(key="scores.beside").set_value([]).run()
    assert app.query_params["beside"] == "none"
    said = text_of(part(open_page, "Trade-off", "mine", beside="none"))
    assert "There is no other run to compare it with" in said


def test_runs_on_other_data_are_drawn_but_not_compared(make_run: MakeRun, open_page: Open) -> None:
    make_run("mine")
    copied = on_other_data(make_run("copied")).id
    said = text_of(part(open_page, "Trade-off", bundled().id, beside=f"mine,{copied}"))
    assert "Both runs are on the front" in said
    assert re.search(r"another model are drawn in grey \\\(1\\\)", said)


def test_the_address_names_what_stands_beside_and_what_is_shown(make_run: MakeRun, open_page: Open) -> None:
    make_run("a")
    make_run("b")
    app = part(open_page, "Trade-off", bundled().id, beside="b,gone,a", across="Never-knew score")
    assert app.multiselect(key="scores.beside").value == ["b", "a"]
    assert app.segmented_control(key="across").value == "Never-knew score"
    app = part(open_page, "Scores", bundled().id, beside="b,gone,a", on="Taught wording (train)")
    assert app.multiselect(key="scores.beside").value == ["b", "a"]
    assert "on questions in taught wording" in text_of(app)
    app.segmented_control(key="on").set_value("Taught, held out from unlearning (val)").run()
    assert "on questions held out from unlearning" in text_of(app)
    assert not app.exception


def test_all_runs_on_the_data_are_one_click(make_run: MakeRun, open_page: Open) -> None:
    for name in ("a", "b", "c"):
        make_run(name)
    app = part(open_page, "Scores", bundled().id)
    next(b for b in app.button if b.key == "scores.all").click().run()
    mine = {run.id for run in store.bundled_runs() if run.config().data.subset == "privacy"} - {bundled().id}
    same = {"a", "b", "c"} if store.bundled_runs()[0].id == bundled().id else set()
    assert set(app.multiselect(key="scores.beside").value) == mine | same


@pytest.mark.parametrize("name", PARTS)
def test_every_part_works_on_bundled_runs_and_on_runs_that_lack_things(
    name: str, make_run: MakeRun, open_page: Open
) -> None:
    make_run("bare", without=("unlearn*", "answers*", "tokens*", "manifest*", "events*"))
    make_run("early", "cancelled", without=("metrics*", "unlearn*", "manifest*"))
    for run in (bundled().id, "bare", "early"):
        app = part(open_page, name, run)
        assert not app.exception, (name, run)
        assert not app.error, (name, run)


def test_a_run_without_scores_says_so(make_run: MakeRun, open_page: Open) -> None:
    make_run("mine", "running", without=("metrics*",))
    app = part(open_page, "Scores", "mine")
    assert "not that far" in text_of(app)


def test_new_metrics_and_intervals_are_shown(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("mine")
    edit(run, "metrics.json", with_intervals)
    edit(
        run,
        "metrics.json",
        lambda values: values["metrics"].update(of_tomorrow={"values": {}, "reasons": {"all": HOSTILE}, "unit": ""}),
    )
    app = part(open_page, "Metrics", "mine")
    said = text_of(app)
    assert "±5.0" in said
    assert "of tomorrow" in said
    assert "<img" not in said
    assert "Bars are 95 % intervals" in text_of(part(open_page, "Trade-off", "mine"))


def checks(run: Run) -> tuple[list[int], int]:
    """Return the steps at which a run was checked but the one that it kept, and that one."""
    result = run.json("unlearn.json")
    return [int(check["step"]) for check in result["checks"] if check["step"] != result["step"]], int(result["step"])


def test_of_a_bundled_run_the_checkpoints_can_be_picked_that_it_ships(open_page: Open) -> None:
    (steps, kept), there = checks(bundled()), askable.checkpoints(bundled())
    assert set(steps) & set(there)
    assert set(steps) - set(there)
    for step in steps:
        app = part(open_page, "Steps", bundled().id, step=str(step))
        assert next(b for b in app.button if b.label == "Make it a run").disabled == (step not in there)
        assert ("ships without this checkpoint" in text_of(app)) == (step not in there)
        assert f"Stopped at step {step} instead of {kept}" in text_of(app)
        assert "picked on train" in text_of(app)


def test_another_run_starts_from_its_own_result(make_run: MakeRun, open_page: Open) -> None:
    run, (one, *_, other) = make_run("mine"), checks(bundled())[0]
    edit(run, "unlearn.json", lambda values: values.update(step=other))
    app = part(open_page, "Steps", bundled().id, step=str(one))
    assert app.select_slider(key="step").value == str(one)
    app.selectbox(key="picked").select("mine").run()
    assert app.select_slider(key="step").value == str(other)
    app = part(open_page, "Steps", "mine", step="nonsense")
    assert app.select_slider(key="step").value == str(other)
    assert not app.exception


def test_a_checkpoint_becomes_a_run_that_says_what_it_was_picked_on(
    make_run: MakeRun, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, asked = make_run("mine"), list[RunConfig]()
    there = checks(run)[0][0]
    (run.path / "checkpoints").mkdir()
    (run.path / "checkpoints" / f"step-{there:05d}.safetensors").write_bytes(b"")
    monkeypatch.setattr(lifecycle, "submit", lambda config, folder: asked.append(config) or make_run("made"))
    app = part(open_page, "Steps", "mine", step=str(there), on="Taught wording (train)")
    button = next(b for b in app.button if b.label == "Make it a run")
    assert not button.disabled
    button.click().run()
    assert (asked[0].unlearn.result_step, asked[0].unlearn.picked_on) == (there, "train")
    assert asked[0] == picked_step.config(run, there, "train")
    assert app.query_params["run"] == "made"


def test_who_has_seen_val_picks_by_it_whatever_is_shown_by_then(
    make_run: MakeRun, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, asked = make_run("mine"), list[RunConfig]()
    there = checks(run)[0][0]
    (run.path / "checkpoints").mkdir()
    (run.path / "checkpoints" / f"step-{there:05d}.safetensors").write_bytes(b"")
    monkeypatch.setattr(lifecycle, "submit", lambda config, folder: asked.append(config) or make_run("made"))
    app = part(open_page, "Scores", "mine", step=str(there))
    app.segmented_control(key="on").set_value("Taught wording (train)").run()
    app.pills(key="part").set_value("Steps").run()
    assert "picked on val" in text_of(app)
    next(b for b in app.button if b.label == "Make it a run").click().run()
    assert asked[0].unlearn.picked_on == "val"


def test_a_run_without_scores_is_picked_by_its_curve(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("mine")
    (run.path / "metrics.json").unlink()
    app = part(open_page, "Steps", "mine", step=str(checks(run)[0][0]))
    assert "picked on train" in text_of(app)
    assert "were on the screen" not in text_of(app)


def test_a_clicked_point_leaves_the_others_beside_it(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("mine")
    kept: dict[str, Any] = {}
    monkeypatch.setattr(tradeoff.runs_beside, "put", lambda names: kept.update(beside=list(names)))
    monkeypatch.setattr(tradeoff.current_run, "open_run", lambda name: kept.update(run=name))
    tradeoff._open(["mine", bundled().id, "other"], bundled().id)
    assert kept == {"run": bundled().id, "beside": ["mine", "other"]}


def test_the_published_table_follows_the_runs_subset(make_run: MakeRun, open_page: Open) -> None:
    copied = on_other_data(make_run("copied")).id
    app = part(open_page, "Scores", bundled().id)
    assert app.selectbox(key="paper").value == "Llama-2-7B, privacy"
    assert any("of its settings are not the published ones" in box.label for box in app.expander)
    app.selectbox(key="picked").select(copied).run()
    assert app.selectbox(key="paper").value == "Llama-2-7B, copyright"
    assert not app.exception


def test_the_method_picker_explains_the_chosen_one(open_page: Open) -> None:
    app = open_page("runs", view="New run")
    picker = app.selectbox(key=f"{DEFAULT}.method.method")
    assert len(picker.options) == len(METHODS)
    picker.select("ce-u").run()
    assert not app.exception
    assert any(METHODS["ce-u"].formula in code.value for code in app.code)
    assert "2503" in text_of(app)
    assert app.query_params[f"{DEFAULT}.method.method"] == "ce-u"
