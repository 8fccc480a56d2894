"""Another checkpoint as a run's result: nothing is trained again, and nothing that was kept is touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.config.run_config import RunConfig
from core.runs import picked_step, store
from core.runs.store import Run
from core.util.errors import UserError
from tests.pipeline.test_pipeline import execute, reused, small


@pytest.fixture(scope="module")
def original(
    tiny_of: Callable[[str], Path], tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, RunConfig]:
    config = small(tiny_of("llama"), tiny_data, unlearn__steps=6)
    return execute(config, tmp_path_factory.mktemp("runs"))[0], config


def after(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.path / "after" / "region.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_the_checkpoint_becomes_the_result(original: tuple[Run, RunConfig]) -> None:
    run, config = original
    assert run.json("unlearn.json")["step"] == 6
    kept = after(run)
    made, _ = execute(picked_step.config(run, 2, "val"), run.path.parent)
    assert reused(made)["unlearn"]
    assert same(after(made), load_file(run.path / "checkpoints" / "step-00002.safetensors"))
    assert not same(after(made), kept)
    changed, own = made.table("changes"), run.table("changes")
    assert changed is not None
    assert own is not None
    assert changed["norm_change"].sum() < own["norm_change"].sum()
    result = made.json("unlearn.json")
    assert result["step"] == 2
    assert "picked on val" in result["stopped"]
    assert made.config().unlearn.picked_on == "val"
    # Neither the first run nor the cache, whose files were linked into the second, has changed.
    assert same(after(run), kept)
    again, _ = execute(config, run.path.parent)
    assert reused(again)["unlearn"]
    assert same(after(again), kept)
    assert again.json("unlearn.json")["step"] == 6


def test_what_cannot_be_taken_is_said(original: tuple[Run, RunConfig]) -> None:
    with pytest.raises(UserError, match="no checkpoint of step 5"):
        picked_step.config(original[0], 5, "train")
    with pytest.raises(UserError, match="no checkpoint of step 4"):
        picked_step.config(store.bundled_runs()[0], 4, "train")
    with pytest.raises(UserError, match="choice for picked_on"):
        picked_step.config(original[0], 2, "tomorrow")


def test_with_other_steps_the_picked_one_means_nothing() -> None:
    picked = (
        RunConfig(name="mine · stopped at step 4")
        .with_setting("unlearn.result_step", 4)
        .with_setting("unlearn.picked_on", "val")
    )
    assert picked_step.unpicked(picked) == RunConfig(name="mine")
