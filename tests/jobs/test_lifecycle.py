"""Following a run's events; the worker itself is tested in test_worker.py."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import psutil
import pytest

from core.config.run_config import RunConfig
from core.jobs import lifecycle
from core.runs import store
from core.runs.store import Run
from core.util import files


@pytest.fixture
def running(tmp_path: Path) -> Run:
    """Return a run whose worker is this process."""
    run = store.create(RunConfig(), tmp_path)
    values = {"state": "running", "pid": os.getpid(), "started_process": psutil.Process().create_time()}
    files.write_json(run.path / "status.json", store.fresh_status() | values)
    return run


def test_each_event_is_yielded_once_past_damaged_lines(running: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = running.path / "events.jsonl"
    path.write_bytes(b'{"kind": "a"}\n{broken\n{"kind": "b"}\n')
    later = [b'\xff\n{"kind": "c"}\n', b'{"kind": "d"}\n']

    def wait(_: float) -> None:
        if later:
            path.write_bytes(path.read_bytes() + later.pop(0))
        else:
            files.write_json(running.path / "status.json", store.fresh_status() | {"state": "done"})

    monkeypatch.setattr(time, "sleep", wait)
    assert [event["kind"] for event in lifecycle.follow(running)] == ["a", "b", "c", "d"]


def test_events_written_just_before_the_end_are_not_missed(running: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = running.path / "events.jsonl"
    path.write_text(json.dumps({"kind": "a"}) + "\n", encoding="utf-8")

    def wait(_: float) -> None:
        path.write_text(path.read_text() + json.dumps({"kind": "end"}) + "\n", encoding="utf-8")
        files.write_json(running.path / "status.json", store.fresh_status() | {"state": "done"})

    monkeypatch.setattr(time, "sleep", wait)
    assert [event["kind"] for event in lifecycle.follow(running)] == ["a", "end"]
