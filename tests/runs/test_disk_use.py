"""What the runs take on the disk, what can be cleaned without hurting any, the quota, and the list of processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.config.run_config import RunConfig
from core.jobs import lifecycle, queue_limits, under_way
from core.runs import disk_use, stage_files, store, trash
from core.runs.store import Run
from core.util import access, files
from core.util.errors import UserError
from dashboard.runs import form_upload
from tests.processes import until

MB = 2**20


def ended(name: str, folder: Path) -> Run:
    run = store.create(RunConfig(name=name), folder)
    files.write_json(run.path / "status.json", run.json("status.json") | {"state": "done"})
    return run


def blob(path: Path, size: int = MB) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that shares a stage with the cache, a stage that only the cache has, trash, and notes of ended and living
    work."""
    runs = tmp_path / "runs"
    mine = ended("mine", runs)
    stage_files.cached(runs, "teach", "shared", mine, lambda place: blob(place / "before.bin", 4 * MB))
    stage_files.cached(runs, "teach", "lonely", mine, lambda place: blob(place / "other.bin", 2 * MB))
    (mine.path / "other.bin").unlink()
    thrown = ended("thrown", runs)
    blob(thrown.path / "big.bin")
    trash.delete(thrown)
    for name, state in (("old", "done"), ("dead", "running"), ("now", "queued")):
        blob(runs / ".references" / name / "worker.log")
        status = store.fresh_status() | {"state": state} | ({"pid": 2**22 + 1} if name == "dead" else {})
        files.write_json(runs / ".references" / name / "status.json", status)
    blob(runs / ".probes" / "bundled" / "probes" / "lens.json")
    files.write_json(runs / ".probes" / "bundled" / "status.json", store.fresh_status() | {"state": "done"})
    return runs


def test_a_file_with_two_names_counts_once(folder: Path) -> None:
    sizes = disk_use.use(folder).sizes
    assert 4 * MB < sizes["runs"] < 4.3 * MB
    assert 2 * MB <= sizes["cache"] < 2.3 * MB
    assert MB <= sizes["trash"] < 1.3 * MB
    assert 2 * MB <= sizes["notes"] < 2.3 * MB


def test_a_clean_cache_costs_no_run_anything(folder: Path) -> None:
    mine = store.list_runs(folder)[0]
    before = {path: path.read_bytes() for path in mine.path.rglob("*") if path.is_file()}
    assert 2 * MB <= disk_use.clean("cache", folder) < 2.3 * MB
    assert {path: path.read_bytes() for path in mine.path.rglob("*") if path.is_file()} == before
    assert disk_use.use(folder).sizes["cache"] == 0
    assert stage_files.cached(folder, "teach", "shared", mine, lambda place: blob(place / "before.bin")) == ""  # made anew


def test_a_stage_that_is_being_made_stays(folder: Path) -> None:
    making, cleaned = threading.Event(), threading.Event()

    def produce(place: Path) -> None:
        blob(place / "new.bin")
        making.set()
        assert cleaned.wait(20)

    other = ended("other", folder)
    worker = threading.Thread(target=stage_files.cached, args=(folder, "teach", "busy", other, produce))
    worker.start()
    assert making.wait(20)
    disk_use.clean("cache", folder)
    cleaned.set()
    worker.join(20)
    assert (other.path / "new.bin").stat().st_size == MB
    assert not (folder / ".cache" / "teach" / "lonely").exists()


def test_only_notes_of_ended_work_go(folder: Path) -> None:
    disk_use.clean("notes", folder)
    assert sorted(path.name for path in (folder / ".references").iterdir()) == ["now"]
    assert (folder / ".probes" / "bundled" / "probes" / "lens.json").exists()  # results, not notes


def test_the_trash_can_be_emptied(folder: Path) -> None:
    assert disk_use.clean("trash", folder) >= MB
    assert trash.content(folder) == []


def test_uploads_count_and_go_once_no_run_is_made_with_them(folder: Path) -> None:
    for name in ("used", "thrown", "unused", "new"):
        blob(folder / ".uploads" / name / "data.json")
        os.utime(folder / ".uploads" / name, (0, 0) if name != "new" else None)
    for name in ("used", "thrown"):
        config = RunConfig().with_setting("data.source", str(folder / ".uploads" / name / "data.json"))
        run = store.create(config, folder)
        if name == "thrown":
            files.write_json(run.path / "status.json", store.fresh_status() | {"state": "done"})
            trash.delete(run)
    assert 4 * MB <= disk_use.use(folder).sizes["uploads"] < 4.3 * MB
    assert MB <= disk_use.clean("uploads", folder) < 1.3 * MB
    assert sorted(path.name for path in (folder / ".uploads").iterdir()) == ["new", "thrown", "used"]


def test_runs_are_no_part_to_clean_and_read_only_cleans_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no part to clean"):
        disk_use.clean("runs", folder)
    monkeypatch.setenv(access.READ_ONLY, "1")
    with pytest.raises(UserError, match="read-only"):
        disk_use.clean("cache", folder)


def test_a_folder_that_is_not_there_yet_takes_nothing(tmp_path: Path) -> None:
    use = disk_use.use(tmp_path / "a" / "b")
    assert use.total == 0
    assert use.free > 0


# -- the quota --------------------------------------------------------------------------------------------------------


def test_the_quota_warns_and_then_refuses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total = disk_use.use(folder).total / 1e9
    assert queue_limits.disk_warning(folder) == ""
    monkeypatch.setenv(queue_limits.DISK_QUOTA, f"{total * 2:.9f}")
    assert queue_limits.disk_warning(folder) == ""
    monkeypatch.setenv(queue_limits.DISK_QUOTA, f"{total * 1.1:.9f}")
    assert "that they may take." in queue_limits.disk_warning(folder)
    queue_limits.starting(folder)
    monkeypatch.setenv(queue_limits.DISK_QUOTA, f"{total * 0.9:.9f}")
    assert queue_limits.disk_warning(folder).endswith("nothing can be started.")
    before = sorted(folder.rglob("*"))
    for start in (lambda: lifecycle.submit(RunConfig(), folder), lambda: lifecycle.resume(store.list_runs(folder)[0])):
        with pytest.raises(UserError, match="nothing can be started"):  # for the command line too: a disk is a disk
            start()
    assert sorted(folder.rglob("*")) == before
    disk_use.clean("cache", folder)
    queue_limits.starting(folder)


def test_a_full_quota_takes_no_new_upload(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETSCOPE_RUNS", str(folder))
    kept = form_upload.save("data.json", b"[]")
    monkeypatch.setenv(queue_limits.DISK_QUOTA, f"{disk_use.use(folder).total * 0.9 / 1e9:.9f}")
    assert form_upload.save("data.json", b"[]") == kept
    with pytest.raises(UserError, match="that they may take"):
        form_upload.save("data.json", b"[ ]")


@pytest.mark.parametrize("text", ["0", "-3", "much", "nan", "inf", "1e9"])
def test_a_quota_that_is_none_is_said(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(queue_limits.DISK_QUOTA, text)
    with pytest.raises(UserError, match="is no number of gigabytes"):
        queue_limits.starting(folder)


# -- processes --------------------------------------------------------------------------------------------------------


def test_processes_are_found_by_what_they_execute() -> None:
    assert under_way.what([sys.executable, "-m", "core.jobs", "run", "/runs/x"]) == "worker"
    assert under_way.what([sys.executable, "-m", "core.jobs", "estimate", "/runs/.plans/x"]) == "estimate"
    assert (
        under_way.what([sys.executable, "-m", "core.jobs", "sweep", "/runs/.sweeps/x", "--ray"]) == "manager on the cluster"
    )
    assert under_way.what(["/bin/sh", "-m", "core.jobs", "run", "/runs/x"]) == ""
    assert under_way.what(["python3", "core/jobs/worker.py"]) == ""


def test_an_answerer_is_listed_with_its_memory() -> None:
    process = subprocess.Popen([sys.executable, "-m", "core.serve.server"], cwd=Path(disk_use.__file__).parents[2])
    try:
        until(lambda: any(one.pid == process.pid for one in under_way.ours()), "the answerer is listed")
        answerer = next(one for one in under_way.ours() if one.pid == process.pid)
        assert (answerer.what, answerer.memory > 5 * MB) == ("answerer", True)
    finally:
        process.kill()
        process.wait()
    assert not any(one.pid == process.pid for one in under_way.ours())


def test_what_visitors_asked_counts_and_can_go_with_all_of_it(folder: Path) -> None:
    blob(folder / ".asked" / "some-run" / "somebody.jsonl")
    assert MB <= disk_use.use(folder).sizes["asked"] < 1.3 * MB
    assert MB <= disk_use.clean("asked", folder) < 1.3 * MB
    assert disk_use.use(folder).sizes["asked"] == 0
