"""The command that makes a run again, and which preset a command without one takes."""

from __future__ import annotations

import dataclasses
import shlex

import pytest

from core.cli import terminal
from core.cli.main import parser
from core.config import command
from core.config.presets import DEFAULT, PRESETS
from core.config.run_config import RunConfig, preset


def read(*arguments: str) -> RunConfig:
    return terminal.configured(parser().parse_args(["run", *arguments]))


def again(config: RunConfig) -> RunConfig:
    line = shlex.split(command.command(config))
    assert line[:4] == ["python", "-m", "core", "run"]
    return read(*line[4:])


def test_a_run_is_made_with_clean_and_a_named_method_with_its_own_settings() -> None:
    assert DEFAULT == "clean"
    assert read() == preset("clean")
    assert (read().unlearn.method.name, read().unlearn.slots, read().unlearn.pick) == ("decline", 16, "said")
    assert read("--method", "npo") == preset("this-machine").with_setting("unlearn.method", "npo")
    assert read("--method", "decline").unlearn.slots == 0
    assert read("--preset", "clean", "--method", "npo").unlearn.slots == 16
    assert read("--set", "unlearn.steps=3") == preset("clean").with_setting("unlearn.steps", 3)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_one_word_and_the_usual_one_none(name: str) -> None:
    line = command.command(preset(name))
    assert again(preset(name)) == preset(name)
    assert ("--preset" in line) == (name != "clean")
    assert "--set" not in line


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("method", ["decline", "memflex", "o3"])
def test_it_gives_the_same_run_with_another_method(name: str, method: str) -> None:
    config = preset(name).with_setting("unlearn.method", method).with_setting("unlearn.slots", 2)
    assert again(config) == config


def test_settings_of_no_preset_are_not_taken_for_those_of_the_usual_one() -> None:
    """As a run has them that was made from a file with a name of its own in it."""
    config = dataclasses.replace(RunConfig(), preset="of our own")
    assert dataclasses.replace(again(config), preset="of our own") == config
