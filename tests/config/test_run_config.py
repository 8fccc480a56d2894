"""Configurations: JSON in and out, checked values, presets."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from core.config.presets import PRESETS
from core.config.run_config import FORMAT, RunConfig, describe, from_json, load, preset
from core.methods.gradient_ascent import GradientAscent
from core.methods.memflex import MemFlex
from core.regions import Layers, Random
from core.util.errors import UserError


def through_json(config: RunConfig) -> RunConfig:
    return from_json(json.loads(json.dumps(config.to_json())))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    assert through_json(preset(name)) == preset(name)


def test_every_kind_of_value_survives_json() -> None:
    config = RunConfig(region=Random(draw=7, same_mix=True))
    for path, value in {
        "name": "mine",
        "data.subjects": "Orla Venning, Pavel Drost",
        "unlearn.method": "gradient-ascent",
        "teach.enabled": "off",
        "unlearn.steps": "12",
        "teach.learning_rate": "1e-3",
    }.items():
        config = config.with_setting(path, value)
    assert config.data.subjects == ("Orla Venning", "Pavel Drost")
    assert config.unlearn.method == GradientAscent()
    assert (config.teach.enabled, config.unlearn.steps, config.teach.learning_rate) == (False, 12, 1e-3)
    assert through_json(config) == config


def test_missing_keys_take_their_defaults() -> None:
    assert from_json({"unlearn": {"steps": 5}}) == RunConfig().with_setting("unlearn.steps", 5)


def test_saved_file_is_read_again(tmp_path: Path) -> None:
    config = preset("paper/llama2-privacy").with_setting("region", {"name": "layers", "first": 1, "last": 3})
    config.save(tmp_path / "c.json")
    assert load(tmp_path / "c.json") == config
    assert config.region == Layers(1, 3)


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("unlern.steps", "unlearn"),
        ("unlearn.stepps", "steps"),
        ("unlearn.forget_wieght", "forget_weight"),
        ("teach.epoch", "epochs"),
        ("region.sigmo", "sigma"),
    ],
)
def test_unknown_setting_names_the_nearest(path: str, nearest: str) -> None:
    with pytest.raises(UserError, match=f"Did you mean “{nearest}”"):
        RunConfig().with_setting(path, 1)


@pytest.mark.parametrize(
    ("path", "value", "nearest"),
    [
        ("unlearn.method", "memflx", "memflex"),
        ("region", "locatd", "located"),
        ("model.dtype", "float23", "float32"),
        ("localize.perturbation", "lables", "labels"),
    ],
)
def test_unknown_choice_names_the_nearest(path: str, value: str, nearest: str) -> None:
    with pytest.raises(UserError, match=f"Did you mean “{nearest}”"):
        RunConfig().with_setting(path, value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("unlearn.steps", 0),
        ("data.dev_share", 0.9),
        ("teach.dropout", -0.1),
        ("answers.top_p", 1.5),
        ("seed", -1),
        ("teach.learning_rate", "inf"),
        ("teach.learning_rate", "nan"),
        ("unlearn.forget_weight", -1),
    ],
)
def test_value_out_of_range_is_refused(path: str, value: object) -> None:
    with pytest.raises(UserError):
        RunConfig().with_setting(path, value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("unlearn.steps", "many"),
        ("unlearn.steps", True),
        ("teach.enabled", "perhaps"),
        ("data.subjects", 3),
        ("name", ["a"]),
        ("unlearn", 3),
        ("name.first", "a"),
    ],
)
def test_wrong_type_is_refused(path: str, value: object) -> None:
    with pytest.raises(UserError):
        RunConfig().with_setting(path, value)


def test_setting_of_a_method_is_found_below_unlearn() -> None:
    config = RunConfig().with_setting("unlearn.forget_weight", "0.7")
    assert config.unlearn.method == MemFlex(forget_weight=0.7)
    assert RunConfig().with_setting("unlearn.method.forget_weight", 0.7) == config


def test_setting_of_another_method_is_refused() -> None:
    config = RunConfig().with_setting("unlearn.method", "gradient-ascent")
    with pytest.raises(UserError, match="retain_weight"):
        config.with_setting("unlearn.retain_weight", 2)


def test_settings_do_not_change_the_original() -> None:
    config = RunConfig()
    config.with_setting("unlearn.steps", 3)
    assert config == RunConfig()


def test_a_method_or_region_asked_for_by_its_own_name_keeps_what_the_preset_gave_it() -> None:
    paper, clean = preset("paper/llama2-privacy"), preset("clean")
    assert paper.with_setting("unlearn.method", "memflex") == paper
    assert clean.with_setting("unlearn.method", "decline") == clean
    assert paper.with_setting("region", "located") == paper
    assert paper.with_setting("unlearn.method", "npo").with_setting("unlearn.method", "memflex").unlearn.method == MemFlex()


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean “recommended”"):
        preset("recomended")
    with pytest.raises(UserError, match="paper/llama2-privacy"):  # of earlier versions
        preset("paper")


@pytest.mark.parametrize(
    "values",
    [
        [],
        {"format": FORMAT + 1},
        {"format": "one"},
        {"unlearn": 3},
        {"unlearn": {"stepps": 3}},
        {"region": {"name": "nowhere"}},
        {"region": 3},
        {"unlearn": {"method": None}},
        {"model": {"device": "abacus"}},
        {"seed": None},
    ],
)
def test_wrong_json_is_a_user_error(values: object) -> None:
    with pytest.raises(UserError):
        from_json(values)  # type: ignore[arg-type]


def test_newer_format_says_so() -> None:
    with pytest.raises(UserError, match="newer"):
        from_json({"format": FORMAT + 1})


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe\x00"])
def test_unreadable_file_is_a_user_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "c.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"c\.json"):
        load(path)


def test_description_serves_a_form() -> None:
    config = RunConfig().with_setting("unlearn.steps", 7)
    (steps,) = (entry for entry in describe(config.unlearn) if entry["name"] == "steps")
    assert (steps["value"], steps["default"], steps["unit"]) == (7, RunConfig().unlearn.steps, "")
    assert steps["low"] == 1
    assert all(entry["help"] for entry in describe(config.unlearn.method))


def test_every_setting_explains_itself() -> None:
    config = RunConfig()
    for stage in ("model", "data", "teach", "preflight", "localize", "region", "answers", "evaluate"):
        settings = getattr(config, stage)
        described = {entry["name"] for entry in describe(settings)}
        assert described == {field.name for field in dataclasses.fields(settings)}, stage
