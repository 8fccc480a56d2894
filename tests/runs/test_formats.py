"""Runs of every format that ever was: readable as they lie, and left as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.config.run_config import FORMAT
from core.runs import repair
from core.runs.store import Run
from core.runs.summary import summary
from tests.processes import command, last_json

RUNS = Path(__file__).parents[1] / "fixtures" / "runs"
"""format-N-NAME: a tiny model's run as the code of that time wrote it, without log, locks and checkpoints. "first" was made
by the first code that had runs (with its own tests' tiny model), the one named after a version when that was released."""
FIXTURES = sorted(path.name for path in RUNS.iterdir() if path.is_dir())


def test_each_format_has_a_fixture() -> None:
    assert {int(name.split("-")[1]) for name in FIXTURES} == set(range(1, FORMAT + 1))


@pytest.mark.parametrize("name", FIXTURES)
def test_run_of_any_format_is_read_whole(name: str) -> None:
    run = Run(RUNS / name)
    assert not run.problem()
    assert not list(repair.of_run(run))
    told = summary(run)
    assert told["state"] == "done"
    assert 0 <= told["after"]["unlearn_success"]["val"] <= 100
    assert told["located"]["count"] > 0
    assert len(run.answers()) == 18
    for table, rows in {"localization": 28, "tokens": 1}.items():
        read = run.table(table)
        assert read is not None
        assert len(read) >= rows
    assert run.events()[-1]["kind"] == "end"


@pytest.mark.parametrize("name", FIXTURES)
def test_run_of_any_format_is_listed_shown_and_left_as_it_is(name: str, tmp_path: Path) -> None:
    shutil.copytree(RUNS / name, tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = command("show", name, "--json", "--runs", str(tmp_path))
    assert (done.returncode, last_json(done.stdout)["state"]) == (0, "done"), done.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
