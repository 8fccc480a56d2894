"""The Run page: settings as a form, as a link and as a document, and starting again with changes."""

from __future__ import annotations

import json

import pytest

from core.config.presets import DEFAULT
from core.config.run_config import preset, with_method
from core.jobs import lifecycle, ray_cluster
from core.methods.own import OwnMethod
from core.runs.store import Run
from core.util import files
from dashboard.runs import configuration, form_cost
from dashboard.runs.new_run import PRESET_NAMES
from dashboard.text import md
from tests.dashboard.conftest import MakeRun, Open, text_of
from tests.dashboard.run_made import plain, said


def test_what_the_presets_change_is_shown(open_page: Open) -> None:
    changed = {path for path, *_ in configuration.differences(preset(DEFAULT), preset("paper/llama2-privacy"))}
    assert {"teach.epochs", "region.thresholds", "unlearn.method.forget_weight"} <= changed
    assert any("unlearn › learning rate" in plain(str(table.value)) for table in open_page("runs", view="New run").table)


def test_a_published_preset_brings_model_data_and_sources_and_a_baseline_its_own_settings(open_page: Open) -> None:
    app, name = open_page("runs", view="New run"), "paper/qwen1.5-copyright"
    app.segmented_control(key="new.preset").set_value(name).run()
    assert app.segmented_control(key=f"{name}.model").value == "qwen"
    assert app.segmented_control(key=f"{name}.data").value == "knowundo"
    rate = app.number_input(key=f"{name}.unlearn.learning_rate")
    assert rate.value == preset(name).unlearn.learning_rate
    assert md("run_ours_lora.sh:31") in rate.help
    app.selectbox(key=f"{name}.method.method").set_value("ga-kl-id").run()
    theirs = with_method(preset(name), "ga-kl-id").unlearn.learning_rate
    assert app.number_input(key=f"{name}.ga-kl-id.unlearn.learning_rate").value == theirs


def test_json_replaces_the_form_when_valid(open_page: Open, monkeypatch: pytest.MonkeyPatch, make_run: MakeRun) -> None:
    made, asked = make_run("new", "running"), []
    monkeypatch.setattr(lifecycle, "submit", lambda config, folder, ray: asked.append(config) or made)
    app = open_page("runs", view="New run")
    app.number_input(key=f"{DEFAULT}.unlearn.steps").set_value(7).run()
    app.toggle(key="as_json").set_value(True).run()
    values = json.loads(app.text_area[0].value)
    assert values["unlearn"]["steps"] == 7
    values["unlearn"]["steps"] = 9
    app.text_area[0].set_value(json.dumps(values)).run()
    assert "1 changed" not in said(app)
    next(b for b in app.button if b.label == "Start").click().run()
    assert asked[0].unlearn.steps == 9


def test_the_form_keeps_its_method_and_region_while_it_is_not_shown(open_page: Open) -> None:
    app = open_page("runs", view="New run")
    for key, name in ((f"{DEFAULT}.method.method", "npo"), (f"{DEFAULT}.rule.region rule", "layers")):
        app.selectbox(key=key).set_value(name).run()
    app.toggle(key="as_json").set_value(True).run()
    assert '"name": "npo"' in app.text_area[0].value
    app.toggle(key="as_json").set_value(False).run()
    assert app.selectbox(key=f"{DEFAULT}.method.method").value == "npo"
    assert app.selectbox(key=f"{DEFAULT}.rule.region rule").value == "layers"


def test_a_link_has_its_settings_whether_or_not_they_were_edited_as_text(open_page: Open) -> None:
    app = open_page("runs", view="New run", as_json="true", **{f"{DEFAULT}.unlearn.steps": "7"})
    app.toggle(key="as_json").set_value(True).run()
    assert json.loads(app.text_area[0].value)["unlearn"]["steps"] == 7


def test_what_a_link_asks_for_in_vain_is_said_until_it_is_set(open_page: Open) -> None:
    asked = {f"{DEFAULT}.teach.epochs": "70000", f"{DEFAULT}.unlearn.steps": "7", f"{DEFAULT}.teach.merge": "TRUE"}
    app = open_page("runs", view="New run", **asked)
    assert app.number_input(key=f"{DEFAULT}.unlearn.steps").value == 7
    assert ["left out: epochs = 70000." in plain(w.value) for w in app.warning] == [True]
    app.text_input(key="new.name").set_value("mine").run()
    assert len(app.warning) == 1
    app.number_input(key=f"{DEFAULT}.teach.epochs").set_value(3).run()
    assert not app.warning


def test_what_a_link_asked_for_in_vain_goes_with_its_form(open_page: Open) -> None:
    app = open_page("runs", view="New run", **{f"{DEFAULT}.unlearn.steps": "9999999"})
    assert len(app.warning) == 1
    app.segmented_control(key="new.preset").set_value("recommended").run()
    assert not app.warning


def test_a_link_says_whose_published_thresholds(open_page: Open) -> None:
    preset_name = "this-machine"  # whose region is located
    region = f"{preset_name}.rule.located.region"
    asked = {f"{region}.thresholds": "published", f"{region}.published": "qwen1.5-7b:copyright"}
    app = open_page("runs", view="New run", **{"new.preset": PRESET_NAMES[preset_name], **asked})
    assert app.selectbox(key=f"{region}.published").value == "qwen1.5-7b:copyright"
    assert not app.warning


def test_a_run_that_goes_on_from_another_is_not_said_to_teach() -> None:
    config, share = preset(DEFAULT), {"unlearn": 40.0, "retention": 90.0}
    assert "has to be taught" in form_cost.knows(share, config)
    assert form_cost.knows(share, config.with_setting("teach.from_run", "earlier")).endswith("of those to keep.")


def test_subjects_of_the_hub_are_part_of_the_link(open_page: Open) -> None:
    app = open_page("runs", view="New run", **{"new.data": "KnowUnDo (hub)", "new.subjects.hub": ["Ann Lee", "Bob Roe"]})
    assert app.multiselect(key="new.subjects.hub").value == ["Ann Lee", "Bob Roe"]
    assert '"Ann Lee"' in "".join(code.value for code in app.code)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON (line 1, column 2)"),
        ("[]", "must be a JSON object"),
        ('{"unlearn": {"stepz": 3}}', "steps"),
        ('{"unlearn": {"steps": 0}}', "outside its range"),
        ('{"format": 99}', "newer than this"),
        ('{"model": {"trust_remote_code": true}}', "command line"),
        ('{"data": {"subjects": ["Nobody"]}}', "Nobody"),
    ],
)
def test_json_that_is_wrong_is_one_sentence(text: str, words: str, open_page: Open) -> None:
    app = open_page("runs", view="New run")
    app.toggle(key="as_json").set_value(True).run()
    app.text_area[0].set_value(text).run()
    assert not app.exception
    assert words in plain(app.warning[0].value)
    assert next(b for b in app.button if b.label == "Start").disabled


@pytest.mark.parametrize(("installed", "address"), [(False, "node:6379"), (True, "")])
def test_where_is_asked_only_where_there_is_a_choice(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, installed: bool, address: str
) -> None:
    monkeypatch.setattr(ray_cluster, "installed", lambda: installed)
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert all(group.label != "Where" for group in open_page("runs", view="New run").segmented_control)


def test_run_goes_to_the_cluster_with_what_it_needs(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, make_run: MakeRun
) -> None:
    made, asked = make_run("new", "queued"), []
    values = {**json.loads((made.path / "status.json").read_text()), "pid": None, "ray": {"cpus": 3.0, "gpus": None}}
    files.write_json(made.path / "status.json", values)
    monkeypatch.setattr(lifecycle, "submit", lambda config, folder, ray: asked.append(ray) or made)
    monkeypatch.setattr(ray_cluster, "installed", lambda: True)
    monkeypatch.setenv("FORGETSCOPE_RAY", "node:6379")
    app = open_page("runs", view="New run")
    where = next(group for group in app.segmented_control if group.label == "Where")
    assert [plain(text) for text in where.options] == ["This machine", "Ray cluster (node:6379)"]
    assert where.value == "here"
    where.set_value("ray").run()
    app.number_input(key="new.cpus").set_value(3).run()
    next(b for b in app.button if b.label == "Start").click().run()
    assert asked == [ray_cluster.Resources(3.0, None)]
    assert "Waiting until a node of the Ray cluster is free" in said(app)


def test_same_again_prefills_the_form_and_marks_changes(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, make_run: MakeRun
) -> None:
    run = make_run("mine")
    config = run.config().with_setting("unlearn.steps", 33).with_setting("data.subset", "privacy")
    config = config.with_setting("region", "layers").with_setting("data.dev_share", 0.2).with_setting("teach.rank", 4)
    config.save(run.path / "config.json")
    made, asked = make_run("new", "running"), []
    monkeypatch.setattr(lifecycle, "submit", lambda config, folder, ray: asked.append(config) or made)
    app = open_page("runs", view="New run", again="mine")
    assert not app.exception
    assert "These are the settings of" in app.info[0].value
    steps = next(n for n in app.number_input if n.label.startswith("steps"))
    assert steps.value == 33
    assert not steps.label.startswith(":orange")
    steps.set_value(44).run()
    assert next(n for n in app.number_input if "steps" in n.label).label.startswith(":orange[●]")
    assert any("1 changed against the other run" in e.label for e in app.expander)
    next(b for b in app.button if b.label == "Start").click().run()
    # What is changed is named anew: the name was of what the other run did.
    assert asked[0] == config.with_setting("unlearn.steps", 44).with_setting("name", "")
    assert "again" not in app.query_params


def test_same_again_of_a_run_with_an_own_method_shows_it_and_runs_nothing(open_page: Open, make_run: MakeRun) -> None:
    own = OwnMethod(file="<b>mine</b>.py", kind="Mine", sha256="0" * 64, settings='{"weight": 2}')
    run = make_run("mine", "done")
    run.config().with_setting("unlearn.method", own).save(run.path / "config.json")
    app = open_page("runs", view="New run", again="mine")
    assert not app.exception
    assert "Mine (<b>mine" in plain(text_of(app))
    assert "is code that was never named on this machine" in plain(app.error[0].value)
    assert next(b for b in app.button if b.label == "Start").disabled


def test_again_from_the_button_and_back(living: Run, open_page: Open) -> None:
    app = open_page("runs", "living", view="This run")
    next(b for b in app.button if b.label == "Same again, changed").click().run()
    assert app.query_params["again"] == "living"
    assert "These are the settings of" in app.info[0].value
    next(b for b in app.button if b.label == "Start from a preset instead").click().run()
    assert "again" not in app.query_params
    assert app.segmented_control(key="new.preset").value == DEFAULT


def test_again_of_a_run_that_is_gone_or_unreadable(make_run: MakeRun, open_page: Open) -> None:
    assert "gone" in open_page("runs", view="New run", again="gone").warning[0].value
    run = make_run("broken")
    (run.path / "config.json").write_text("{")
    app = open_page("runs", view="New run", again="broken")
    assert not app.exception
    assert "no readable config" in app.error[0].value
