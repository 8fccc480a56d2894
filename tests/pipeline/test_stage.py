"""Stages: what they declare is what they do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.pipeline.pipeline import REGION, stages
from core.pipeline.setup import set_up
from core.pipeline.stage import Stage, perform
from core.pipeline.state import State
from core.pipeline.widened_answers import WIDENED
from core.runs import store
from core.runs.store import STAGES
from tests.naive import Recorder
from tests.pipeline.test_pipeline import small
from tests.processes import PLAIN


@pytest.fixture
def state(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> State:
    """Return the state of a run of which nothing is done."""
    config = small(tiny_llama, tiny_data, teach__epochs=1, unlearn__steps=1)
    return set_up(store.create(config, tmp_path), config, tmp_path, Recorder())


def test_what_is_not_made_yet_is_refused(state: State) -> None:
    with pytest.raises(RuntimeError, match="region is not there yet"):
        _ = state.region


def test_what_a_stage_does_not_declare_is_refused(state: State) -> None:
    state.region = ["a"]
    reading = Stage("own", lambda state, _: str(state.region))
    with pytest.raises(RuntimeError, match="own reads region and does not declare it"):
        perform(reading, state)
    assert perform(dataclasses.replace(reading, reads=("region",)), state) == "['a']"

    def leave(state: State, _: Path) -> None:
        state.region = []

    with pytest.raises(RuntimeError, match="own leaves region and does not declare it"):
        perform(dataclasses.replace(reading, work=leave, reads=("region",)), state)
    assert state.region == ["a"]


def test_stages_have_the_names_that_everybody_shows_and_leave_what_later_ones_read(state: State) -> None:
    assert tuple(stage.name for stage in stages(state)) == PLAIN
    state.config = state.config.with_setting("teach.retrain", "true")
    assert tuple(stage.name for stage in stages(state)) == STAGES
    there: set[str] = set()
    for stage in stages(state):
        assert set(stage.reads) <= there
        there |= set(stage.leaves)


def test_stages_write_what_they_declare(state: State) -> None:
    for stage in stages(state):
        perform(stage, state)
        if stage.inputs:
            made = state.folder / ".cache" / stage.name / state.keys[stage.name]
            assert {path.name for path in made.iterdir()} - {".complete"} <= set(stage.writes)
    assert all((state.run.path / name).exists() for name in REGION.writes)


def test_a_key_follows_from_the_declared_inputs(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    values: dict[str, Any] = {"first": [1], "second": []}
    stage = dataclasses.replace(WIDENED, inputs=(lambda _: values["first"], lambda _: values["second"]))
    key = stage.key(state)
    assert stage.key(state) == key
    values["second"] = [2]
    assert stage.key(state) != key
    values["second"] = []
    assert dataclasses.replace(stage, code=stage.code + 1).key(state) != key
    assert stage.key(state) == key
    monkeypatch.setattr(state, "group", SimpleNamespace(size=2))
    assert stage.key(state) != key
