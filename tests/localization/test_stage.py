"""Scores of modules in the table that a run writes, and that they are made only where they are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.pipeline import inputs
from core.pipeline.pipeline import LOCALIZE, TEACH
from core.pipeline.setup import set_up
from core.pipeline.stage import perform
from core.pipeline.state import State
from core.regions.scored import COLUMN, SCORES
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


def test_both_factors_have_the_scores_of_their_module(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    table = localized(tiny_llama, tiny_data, tmp_path, scores=True).run.table("localization")
    assert table is not None
    for score in SCORES:
        values = table.groupby(["layer", "module"])[COLUMN.format(score)]
        assert values.first().notna().all()
        assert (values.nunique() == 1).all()
        assert values.first().nunique() > 1


@pytest.mark.parametrize("scores", [False, True])
def test_a_table_without_scores_is_not_taken_for_one_with_them(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, scores: bool
) -> None:
    state = localized(tiny_llama, tiny_data, tmp_path, scores=scores)
    (values,) = inputs.localizing(state)
    assert values["scores"] == scores
    again = localized(tiny_llama, tiny_data, tmp_path, scores=scores)
    assert again.keys["localize"] == state.keys["localize"]
    table = again.run.table("localization")
    assert table is not None
    assert ("score_removal" in table) == scores
