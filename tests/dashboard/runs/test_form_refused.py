"""The form of a new run says beside the field what would be refused, before anything is queued."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core import regions
from core.config.presets import DEFAULT
from core.config.run_config import RunConfig
from core.jobs import lifecycle, under_way
from core.plan import admission
from core.util.errors import UserError
from dashboard.runs.new_run import PRESET_NAMES
from tests.dashboard.conftest import MakeRun, Open
from tests.dashboard.run_made import plain, said

METHOD, RULE = f"{DEFAULT}.method.method", f"{DEFAULT}.rule.region rule"


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


MODELS = {
    "There is no model": {},
    "has no weights": {"config.json": "{}"},
    "has its weights only as pickles": {"config.json": "{}", "pytorch_model.bin": ""},
    "The weights model.safetensors are damaged": {"config.json": "{}", "model.safetensors": "nothing"},
}
"""what is said -> the files of a model's folder"""


def test_a_model_that_cannot_be_loaded(open_page: Open, tmp_path: Path) -> None:
    app = open_page("runs", view="New run")
    app.segmented_control(key="new.model").set_value("other").run()
    for number, (words, files) in enumerate(MODELS.items()):
        folder = tmp_path / str(number)
        for name, text in files.items():
            folder.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        app.text_input(key="new.model_name").set_value(str(folder)).run()
        assert both_say(app, words), words


def test_data_of_one_scope(open_page: Open, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("question,answer,scope\nWho is it?,Orla.,unlearn\n")
    app = open_page("runs", view="New run")
    app.segmented_control(key="new.data").set_value("path").run()
    app.text_input(key="new.path").set_value(str(tmp_path / "mine.csv")).run()
    assert "The retention scope has no train example." in plain(app.error[0].value)
    assert not start_is_offered(app)


def test_a_region_that_the_model_does_not_have(open_page: Open) -> None:
    app = open_page("runs", view="New run")
    assert start_is_offered(app)
    assert not app.error
    app.selectbox(key=RULE).set_value("layers").run()
    assert start_is_offered(app)
    app.number_input(key=f"{DEFAULT}.rule.layers.region.first").set_value(40).run()
    assert both_say(app, "The region begins at layer 40, and the model has 30, from 0 to 29.")
    app.number_input(key=f"{DEFAULT}.rule.layers.region.first").set_value(4).run()
    assert start_is_offered(app)


def test_a_method_that_the_other_settings_exclude(open_page: Open) -> None:
    of_preset = "this-machine"  # without fresh rank, which excludes weight decay by itself
    app = open_page(
        "runs", view="New run", **{"new.preset": PRESET_NAMES[of_preset], f"{of_preset}.unlearn.weight_decay": "0.1"}
    )
    assert start_is_offered(app)
    app.selectbox(key=f"{of_preset}.method.method").set_value("sure").run()
    assert both_say(app, "weight decay would move the rest as well.")


def test_a_method_that_uses_general_text_says_whose(open_page: Open) -> None:
    app = open_page("runs", view="New run")
    assert "No general text is given" not in said(app)
    app.selectbox(key=METHOD).set_value("ga-kl-ood").run()
    assert "No general text is given (data.general), so this method holds on to our own" in said(app)
    assert start_is_offered(app)


SETTINGS: dict[str, dict[str, Any]] = {
    "There is no general text": {"data": {"general": "nowhere.csv"}, "unlearn": {"method": "ga-kl-ood"}},
    "There is no subject “Nobody”.": {"data": {"forget": ["Nobody"]}},
    "There is no example in the split dev. Set data.dev_share.": {"evaluate": {"splits": ["dev"]}},
    "There is no run “nothing”.": {"teach": {"from_run": "nothing"}},
    "There is no model “no-such-model”.": {"model": {"name": "no-such-model"}},
    "unlearning makes at most 40 steps.": {"unlearn": {"result_step": 99}},
}
"""what is said -> the settings that it is said of"""


def test_settings_given_as_text_are_looked_at_as_well(open_page: Open) -> None:
    app = open_page("runs", view="New run")
    app.toggle(key="as_json").set_value(True).run()
    for words, changes in SETTINGS.items():
        app.text_area[0].set_value(json.dumps(changes)).run()
        assert not app.exception
        assert words in plain(app.warning[0].value)
        assert not start_is_offered(app)
        assert all(button.label != "Measure first" for button in app.button)
    app.text_area[0].set_value(json.dumps({"evaluate": {"splits": ["dev"]}, "data": {"dev_share": 0.2}})).run()
    assert start_is_offered(app)


def test_a_model_too_large_for_this_machine_can_still_be_set_up(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETSCOPE_MEMORY_LIMIT", "2e9")
    app = open_page("runs", view="New run")
    app.segmented_control(key="new.model").set_value("llama").run()
    assert any("this machine has 2.0 GB" in plain(warning.value) for warning in app.warning)
    assert not start_is_offered(app)
    assert "meta-llama" in app.code[-1].value  # for another machine


def test_the_form_and_the_shell_say_the_same(open_page: Open, tmp_path: Path) -> None:
    app = open_page("runs", view="New run")
    app.selectbox(key=RULE).set_value("late").run()
    app.text_input(key=f"{DEFAULT}.rule.late.region.amount").set_value("31").run()
    rule = regions.parse("late:31", regions.All())
    with pytest.raises(UserError) as refusal:
        admission.check(RunConfig(region=rule), tmp_path)
    assert both_say(app, plain(str(refusal.value.what)))


def test_a_queued_run_says_what_it_waits_for(open_page: Open, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("mine", "queued", position=2)
    monkeypatch.setattr(under_way, "awaited", lambda run: f"Waiting for the CPU: run theirs, before {run.id}.")
    message = plain(open_page("runs", "mine", view="This run").info[0].value)
    assert message == "Number 2 in the queue. Waiting for the CPU: run theirs, before mine."
