"""The form of a new run says beside the field what would be refused, before anything is queued."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.jobs import lifecycle
from core.plan import admission
from dashboard.runs import progress
from tests.dashboard.conftest import MakeRun, Open
from tests.dashboard.run_made import plain, said

METHOD, RULE = "this-machine.method.method", "this-machine.rule.region rule"


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "submit", lambda *_: pytest.fail("a run was queued"))
    st.cache_data.clear()


def start_is_offered(app: AppTest) -> bool:
    return not next(button for button in app.button if button.label == "Start").disabled


def both_say(app: AppTest, words: str) -> bool:
    """Say whether a sentence stands beside its field and beside Start, which is not offered then."""
    assert not app.exception
    field, panel = ([plain(element.value) for element in kind] for kind in (app.error, app.warning))
    return words in " ".join(field) and words in " ".join(panel) and not start_is_offered(app)


def test_a_good_form_offers_to_start(open_page: Open) -> None:
    app = open_page("run")
    assert start_is_offered(app)
    assert not app.error


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "There is no model"),
        ({"config.json": "{}"}, "has no weights"),
        ({"config.json": "{}", "pytorch_model.bin": ""}, "has its weights only as pickles"),
        ({"config.json": "{}", "model.safetensors": "nothing"}, "The weights model.safetensors are damaged"),
    ],
)
def test_a_model_that_cannot_be_loaded(open_page: Open, tmp_path: Path, files: dict[str, str], words: str) -> None:
    folder = tmp_path / "model"
    for name, text in files.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    app = open_page("run")
    app.segmented_control(key="new.model").set_value("other").run()
    app.text_input(key="new.model_name").set_value(str(folder)).run()
    assert both_say(app, words)


def test_data_of_one_scope(open_page: Open, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("question,answer,scope\nWho is it?,Orla.,unlearn\n")
    app = open_page("run")
    app.segmented_control(key="new.data").set_value("path").run()
    app.text_input(key="new.path").set_value(str(tmp_path / "mine.csv")).run()
    assert "The retention scope has no train example." in plain(app.error[0].value)
    assert not start_is_offered(app)


def test_a_region_that_the_model_does_not_have(open_page: Open) -> None:
    app = open_page("run")
    app.selectbox(key=RULE).set_value("layers").run()
    assert start_is_offered(app)
    app.number_input(key="this-machine.rule.layers.region.first").set_value(40).run()
    assert both_say(app, "The region begins at layer 40, and the model has 30, from 0 to 29.")
    app.number_input(key="this-machine.rule.layers.region.first").set_value(4).run()
    assert start_is_offered(app)


def test_a_method_that_the_other_settings_exclude(open_page: Open) -> None:
    app = open_page("run", **{"this-machine.unlearn.weight_decay": "0.1"})
    assert start_is_offered(app)
    app.selectbox(key=METHOD).set_value("sure").run()
    assert both_say(app, "weight decay would move the rest as well.")


def test_a_method_that_uses_general_text_says_whose(open_page: Open) -> None:
    app = open_page("run")
    assert "No general text is given" not in said(app)
    app.selectbox(key=METHOD).set_value("ga-kl-ood").run()
    assert "No general text is given (data.general), so this method holds on to our own" in said(app)
    assert start_is_offered(app)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": {"general": "nowhere.csv"}, "unlearn": {"method": "ga-kl-ood"}}, "There is no general text"),
        ({"data": {"forget": ["Nobody"]}}, "There is no subject “Nobody”."),
        ({"evaluate": {"splits": ["dev"]}}, "There is no example in the split dev. Set data.dev_share."),
        ({"teach": {"from_run": "nothing"}}, "There is no run “nothing”."),
        ({"model": {"name": "no-such-model"}}, "There is no model “no-such-model”."),
        ({"unlearn": {"result_step": 99}}, "unlearning makes at most 40 steps."),
    ],
)
def test_settings_given_as_text_are_looked_at_as_well(open_page: Open, changes: dict[str, Any], words: str) -> None:
    app = open_page("run")
    app.toggle(key="as_json").set_value(True).run()
    app.text_area[0].set_value(json.dumps(changes)).run()
    assert not app.exception
    assert words in plain(app.warning[0].value)
    assert not start_is_offered(app)
    assert all(button.label != "Measure first" for button in app.button)


def test_dev_questions_that_are_held_out_can_be_asked(open_page: Open) -> None:
    app = open_page("run")
    app.toggle(key="as_json").set_value(True).run()
    app.text_area[0].set_value(json.dumps({"evaluate": {"splits": ["dev"]}, "data": {"dev_share": 0.2}})).run()
    assert start_is_offered(app)


def test_a_model_too_large_for_this_machine_can_still_be_set_up(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETSCOPE_MEMORY_LIMIT", "2e9")
    app = open_page("run")
    app.segmented_control(key="new.model").set_value("llama").run()
    assert any("this machine has 2.0 GB" in plain(warning.value) for warning in app.warning)
    assert not start_is_offered(app)
    assert "meta-llama" in app.code[-1].value  # for another machine


def test_the_form_and_the_shell_say_the_same(open_page: Open, tmp_path: Path) -> None:
    app = open_page("run")
    app.selectbox(key=RULE).set_value("late").run()
    app.text_input(key="this-machine.rule.late.region.amount").set_value("31").run()
    rule = admission.regions.parse("late:31", admission.regions.All())
    with pytest.raises(admission.UserError) as refusal:
        admission.check(admission.RunConfig(region=rule), tmp_path)
    assert both_say(app, plain(str(refusal.value.what)))


def test_a_queued_run_says_what_it_waits_for(open_page: Open, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("mine", "queued", position=2)
    monkeypatch.setattr(progress.under_way, "awaited", lambda run: f"Waiting for the CPU: run theirs, before {run.id}.")
    assert "Number 2 in the queue. Waiting for the CPU: run theirs, before mine." in plain(
        open_page("run", "mine").info[0].value
    )
