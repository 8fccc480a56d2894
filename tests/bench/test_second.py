"""What never-knew can reach: another run's reference in the place of after."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.runs import store
from core.runs.store import Run
from core.util.errors import UserError
from tests.bench import second


def copied(tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(store.BUNDLED_RUNS / "privacy-clean", tmp_path / "other")))


def test_the_same_reference_has_all_points(tmp_path: Path) -> None:
    run = Run(store.BUNDLED_RUNS / "privacy-clean")
    scores = second.measure(run, copied(tmp_path))
    recorded = run.json("metrics.json")["metrics"]["never_knew_example"]["values"]["after"]
    assert scores["after"] == pytest.approx(recorded)
    assert scores["second"]["free/facts"] == pytest.approx(100.0)
    assert scores["second"]["free/facts/gap"] == pytest.approx(0.0)


def test_other_questions_are_refused(tmp_path: Path) -> None:
    other = copied(tmp_path)
    table = other.table("tokens")
    assert table is not None
    for kept, words in ((table[1:], "scored other questions"), (table.drop(columns="logprob_retrained"), "no reference")):
        (other.path / "tokens.parquet").unlink()
        kept.to_parquet(other.path / "tokens.parquet")
        with pytest.raises(UserError, match=words):
            second.measure(Run(store.BUNDLED_RUNS / "privacy-clean"), other)
