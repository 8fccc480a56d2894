from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from core.jobs import queue
from core.runs.store import Run
from core.util import access
from dashboard.server import health
from tests.processes import ROOT


def test_a_folder_of_runs_can_be_used_also_before_there_is_one(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "not" / "yet"):
        report = health.health(folder)
        assert report.readable
        assert report.writable
        assert report.wrong == ""
        assert 0 < report.free_disk_mb <= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize >> 20
    assert not (tmp_path / "not").exists()
    assert report.version == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_a_file_in_place_of_the_folder_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for folder in (tmp_path / "runs", tmp_path / "runs" / "below", tmp_path / "nowhere"):
        report = health.health(folder)
        assert (report.readable, report.writable, report.free_disk_mb) == (False, False, 0)
        assert report.as_json()["status"] == "unusable"
        assert str(tmp_path) not in str(report.as_json())


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a file system that nobody can write")
def test_what_can_only_be_read_does_for_a_read_only_dashboard(monkeypatch: pytest.MonkeyPatch) -> None:
    report = health.health(Path("/sys/kernel"))
    assert report.readable
    assert not report.writable
    assert "cannot be written" in report.wrong
    monkeypatch.setenv(access.READ_ONLY, "1")
    assert report.wrong == ""


def test_the_queue_is_counted_over_all_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FORGETSCOPE_QUEUE", str(tmp_path / "queue"))
    assert health.health(tmp_path).queue == 0
    for device in ("cpu", "cpu", "cuda"):
        queue.take(tmp_path / "queue" / device, Run(tmp_path / "a-run"))
    assert health.health(tmp_path).queue == 3
