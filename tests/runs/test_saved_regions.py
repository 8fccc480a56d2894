"""Regions that a person named: nobody's is lost, and a run that is gone stays gone."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.runs import saved_regions
from core.runs.store import Run
from core.util.errors import UserError


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "mine").mkdir()
    return Run(tmp_path / "mine")


def test_regions_that_are_saved_at_once_are_all_kept(run: Run) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: saved_regions.save(run, f"r{i}", [str(i)]), range(40)))
    assert set(saved_regions.load(run)) == {f"r{i}" for i in range(40)}


def test_a_name_that_another_region_has_is_refused(run: Run) -> None:
    saved_regions.save(run, "x", ["a"])
    saved_regions.save(run, "x", ["a"])
    with pytest.raises(UserError, match="Another saved region is called “x”"):
        saved_regions.save(run, " x ", ["b"])
    assert saved_regions.load(run) == {"x": ["a"]}


def test_a_run_that_was_deleted_is_not_made_anew(run: Run) -> None:
    shutil.rmtree(run.path)
    for change in (lambda: saved_regions.save(run, "x", ["a"]), lambda: saved_regions.delete(run, "x")):
        with pytest.raises(UserError, match="not here any more"):
            change()
    assert not run.path.exists()
