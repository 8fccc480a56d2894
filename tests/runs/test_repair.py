"""Runs that were damaged in every way we could think of: what is said, what is mended, and what is left alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.runs import repair
from core.runs.store import Run
from core.util import files
from tests.processes import command, last_json

GONE = 2**22 - 7
"""a process id that no machine gives out while this test runs"""


@pytest.fixture
def run(unlearned_run: Run, tmp_path: Path) -> Run:
    """A copy of a finished run with its cache, without what other tests have put beside it."""
    for name in (unlearned_run.id, ".cache"):
        shutil.copytree(unlearned_run.path.parent / name, tmp_path / "runs" / name)
    return Run(tmp_path / "runs" / unlearned_run.id)


def problems(run: Run) -> list[repair.Problem]:
    return list(repair.examine(run.path.parent))


def damage(path: Path) -> None:
    """Turn one byte over in a file of its own: the run shares its files with the cache."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


def test_whole_run_has_no_problem(run: Run) -> None:
    assert not problems(run)


@pytest.mark.parametrize("name", ["before/adapter_model.safetensors", "localization.parquet", "after/region.safetensors"])
def test_damaged_file_of_a_stage_is_brought_back_from_the_cache(run: Run, name: str) -> None:
    whole = (run.path / name).read_bytes()
    damage(run.path / name)
    left = problems(run)
    assert [name in p.says for p in left] == [True]
    assert repair.repair(left) == (1, [])
    assert (run.path / name).read_bytes() == whole
    assert not problems(run)


def test_missing_file_is_brought_back(run: Run) -> None:
    (run.path / "localization.parquet").unlink()
    repair.repair(problems(run))
    assert not problems(run)


def test_file_damaged_in_the_cache_too_is_only_named(run: Run) -> None:
    shutil.rmtree(run.path.parent / ".cache")
    damage(run.path / "localization.parquet")
    left = problems(run)
    assert left[0].mend is None
    assert repair.repair(left) == (0, [])
    assert problems(run)


def test_worker_that_is_gone_is_marked_and_can_be_resumed(run: Run) -> None:
    status = run.json("status.json") | {"state": "running", "stage": "unlearn", "pid": GONE}
    files.write_json(run.path / "status.json", status)
    left = problems(run)
    assert "its worker is gone" in left[0].says
    repair.repair(left)
    assert run.json("status.json")["state"] == "failed"


def test_run_at_work_is_left_alone(run: Run) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        files.write_json(
            run.path / "status.json",
            run.json("status.json") | {"state": "running", "pid": process.pid, "started_process": None},
        )
        (run.path / "localization.parquet").unlink()
        (run.path / f".status.json.{process.pid}.abcdef").touch()
        assert not problems(run)
        process.communicate(b"\n")


def test_halves_of_dead_processes_are_removed_and_others_kept(run: Run) -> None:
    dead, alive = run.path / f".config.json.{GONE}.0a1b2c", run.path / f".config.json.{os.getpid()}.0a1b2c"
    for path in (dead, alive):
        path.write_text("{")
    part = run.path.parent / ".cache" / "teach" / "abc.partial"
    part.mkdir(parents=True)
    assert len(left := problems(run)) == 2
    assert repair.repair(left) == (2, [])
    assert not dead.exists()
    assert not part.exists()
    assert alive.exists()


@pytest.mark.parametrize("name", ["config.json", "status.json"])
def test_truncated_file_makes_a_run_unreadable_and_hurts_no_other(run: Run, name: str) -> None:
    shutil.copytree(run.path, run.path.parent / "other")
    (run.path / name).write_text((run.path / name).read_text()[:40])
    assert {p.where for p in problems(run)} == {run.id}
    assert all(p.mend is None for p in problems(run))


def test_manifest_that_points_outside_is_not_followed(run: Run) -> None:
    manifest = run.json("manifest.json")
    manifest["files"] = {"../../../etc/passwd": "0" * 64}
    files.write_json(run.path / "manifest.json", manifest)
    assert "outside of the run" in problems(run)[0].says
    assert repair.repair(problems(run)) == (0, [])


def test_command_examines_and_repairs(run: Run) -> None:
    folder = str(run.path.parent)
    assert command("runs", "--check", "--runs", folder).returncode == 0
    damage(run.path / "localization.parquet")
    done = command("runs", "--check", "--json", "--runs", folder)
    assert done.returncode == 1
    assert last_json(done.stdout)["problems"][0]["mendable"]
    done = command("runs", "--repair", "--json", "--runs", folder)
    assert (done.returncode, last_json(done.stdout)["mended"]) == (0, 1)
    assert json.loads((run.path / "manifest.json").read_text())["files"]["localization.parquet"]
