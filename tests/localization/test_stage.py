"""The table of module scores as a run writes it, and that it is made only where it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.localization import SCORES
from core.pipeline import inputs
from core.pipeline.pipeline import LOCALIZE, TEACH
from core.pipeline.setup import set_up
from core.pipeline.stage import perform
from core.pipeline.state import State
from core.runs import store
from tests.naive import Recorder
from tests.pipeline.test_pipeline import small


def localized(model: Path, data: Path, folder: Path, *, scores: bool) -> State:
    config = small(model, data, localize__scores=scores)
    run = store.create(config, folder)
    state = set_up(run, config, folder, Recorder())
    for stage in (TEACH, LOCALIZE):
        perform(stage, state)
    return state


def test_a_run_writes_one_row_a_module(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    run = localized(tiny_llama, tiny_data, tmp_path, scores=True).run
    table, tensors = run.table("module_scores"), run.table("localization")
    assert table is not None
    assert tensors is not None
    assert {"layer", "module", *SCORES} <= set(table)
    assert sorted(zip(table["layer"], table["module"], strict=True)) == sorted(
        set(zip(tensors["layer"], tensors["module"], strict=True))
    )
    assert table[list(SCORES)].notna().all(axis=None)


@pytest.mark.parametrize("scores", [False, True])
def test_files_of_runs_that_did_not_ask_are_still_found(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, scores: bool
) -> None:
    state = localized(tiny_llama, tiny_data, tmp_path, scores=scores)
    assert (state.run.path / "module_scores.parquet").exists() == scores
    (values,) = inputs.localizing(state)
    assert ("scores" in values) == scores  # the key is what it was before there was such a setting
    again = localized(tiny_llama, tiny_data, tmp_path, scores=scores)
    assert again.keys["localize"] == state.keys["localize"]
    assert (again.run.path / "module_scores.parquet").exists() == scores
