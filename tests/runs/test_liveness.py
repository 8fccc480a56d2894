"""Whether a process lives, whatever the clock says, and what the log of one that does not had said last."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from core.runs import liveness


def test_the_log_tail_reads_only_the_end(tmp_path: Path) -> None:
    (tmp_path / "worker.log").write_bytes(b"x" * 100_000 + b"\n" + b"bar 1\rbar 2\nlast \xff\n")
    lines = liveness.log_tail(tmp_path)
    assert lines[-2:] == ["bar 2", "last �"]
    assert sum(map(len, lines)) < 2 * liveness.LOG_BYTES
    assert liveness.log_tail(tmp_path / "gone") == []


def test_setting_the_clock_kills_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    boot, now = psutil.boot_time(), time.time()
    status = liveness.identity()
    for step in (-86_400, -5, 5, 86_400):  # the system's date of its own boot moves with its clock
        monkeypatch.setattr(psutil._pslinux, "boot_time", lambda step=step: boot + step)
        monkeypatch.setattr(psutil, "boot_time", lambda step=step: boot + step)
        monkeypatch.setattr(time, "time", lambda step=step: now + step)
        assert liveness.alive(status), step


def test_another_process_with_the_same_number_is_not_taken_for_the_worker() -> None:
    status = liveness.identity()
    assert liveness.alive(status)
    assert not liveness.alive(status | {"started_process": status["started_process"] - 60})
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert not liveness.alive(status | {"pid": other.pid})
        other.communicate(b"\n")


def test_a_start_recorded_as_a_date_is_still_understood() -> None:
    date = psutil.Process().create_time()
    assert liveness.alive(liveness.identity() | {"started_process": date})
    assert not liveness.alive(liveness.identity() | {"started_process": date - 60})


def test_a_worker_that_never_came_up_is_gone_after_the_clock_was_set_back() -> None:
    status = {"host": os.uname().nodename, "pid": None, "heartbeat": time.time()}
    assert liveness.alive(status)
    assert not liveness.alive(status | {"heartbeat": time.time() + 3600})
    assert not liveness.alive(status | {"heartbeat": time.time() - 3600})


@pytest.mark.parametrize("moment", [1e300, -1, float("nan"), float("inf"), 10**400, True, "now"])
def test_a_status_with_a_time_that_is_none_is_unreadable(moment: object) -> None:
    status = {"state": "done", "created": 0, "ended": time.time()}
    assert liveness.readable(status)
    assert not liveness.readable(status | {"created": moment})


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("", ""),
        ("2026-11-27 09:00:00.000Z INFO    a-run teach: stage running\n", ""),
        ("2026-11-27 09:00:00.000Z ERROR   a-run teach: old\n2026-11-27 09:00:01.000Z INFO    worker started\n", ""),
        ("2026-11-27 09:00:00.000Z ERROR   a-run teach: /r: it cannot be written\n", "/r: it cannot be written"),
        ('{"level": "ERROR", "run": "a-run", "message": "it cannot be written"}\n', "it cannot be written"),
        (
            '{"level": "CRITICAL", "message": "end", "traceback": "Traceback\\n  file\\nSomeError: broke"}\n',
            "SomeError: broke",
        ),
        ("Traceback (most recent call last):\n  …\n\x1b[31mSomeError: it broke\n", "\\u001b[31mSomeError: it broke"),
        (
            "terminate called after throwing an instance of 'std::bad_alloc'\n",
            "terminate called after throwing an instance of 'std::bad_alloc'",
        ),
    ],
)
def test_obituary_says_where_and_what_the_log_complains_of(log: str, said: str, tmp_path: Path) -> None:
    folder = tmp_path / "a-run"
    folder.mkdir()
    (folder / "worker.log").write_text(log)
    expected = "The worker is gone (in stage teach)." + (f" Its log ends with: {said}" if said else "")
    assert liveness.obituary(folder, "teach")["error"] == expected


def test_obituary_of_a_run_that_waited(tmp_path: Path) -> None:
    assert liveness.obituary(tmp_path, "") == {
        "error": "The worker is gone (in stage queue).",
        "fix": "Resume it: finished stages are kept.",
    }
