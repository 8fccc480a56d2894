"""Stages: what they declare is what they do."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from core.pipeline.pipeline import REGION, stages
from core.pipeline.setup import set_up
from core.pipeline.stage import Stage, perform, timed
from core.pipeline.state import State
from core.pipeline.widened_answers import WIDENED
from core.runs import overview, store
from core.runs.store import STAGES
from core.runs.summary import memory
from core.util import progress
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


def test_every_stage_has_a_peak_of_its_own(state: State) -> None:
    def fill(size: int) -> str:
        return "" * int(torch.ones(size * 2**18).sum())

    large, small = (timed(str(size), state.run, Recorder(), partial(fill, size)) for size in (300, 1))
    assert large["peak_memory_mb"] - small["peak_memory_mb"] > 200
    assert "peak_gpu_mb" not in large


class Gpu:
    """One of two GPUs is used."""

    forgotten: ClassVar[list[int]] = []

    @staticmethod
    def device_count() -> int:
        return 2

    @staticmethod
    def max_memory_reserved(number: int) -> int:
        return 0 if number else 3 * 2**30

    @staticmethod
    def empty_cache() -> None:
        """Nothing is cached."""

    @classmethod
    def reset_peak_memory_stats(cls, number: int) -> None:
        cls.forgotten.append(number)


def test_what_a_gpu_holds_is_recorded_beside_it(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_gpus", lambda: iter([Gpu]))
    entry = timed("teach", state.run, Recorder(), str)
    assert entry["peak_gpu_mb"] == {"cuda:0": 3072}
    assert Gpu.forgotten == [0, 1]
    assert memory(entry) == {"cpu": entry["peak_memory_mb"] * 2**20, "cuda:0": 3 * 2**30}
    assert overview.peak_memory({"teach": entry, "answers": {"peak_memory_mb": 1}}) == 3 * 2**30
    assert memory({"peak_gpu_mb": "much", "peak_memory_mb": None}) == {}
