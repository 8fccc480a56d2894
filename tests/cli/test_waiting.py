"""What a command that waits says: for what, since when, how long still; and that Ctrl-C leaves the queue."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.cli import waiting
from core.cli.waiting import Waiting
from core.config.run_config import RunConfig
from core.jobs import queue, under_way, worker
from core.runs import store
from core.runs.store import Run
from core.util import files
from core.util.progress import now
from tests.processes import ROOT, until

Take = Callable[[Run], Path]


@pytest.fixture
def take() -> Iterator[Take]:
    """A function that takes a ticket for a run of the CPU, at work where it is the first."""
    folder = worker.queue_folder(RunConfig().with_setting("model.device", "cpu"))
    taken: list[Path] = []

    def one(run: Run) -> Path:
        taken.append(queue.take(folder, run))
        if len(queue.waiting(folder)) == 1:
            queue.begin(folder, taken[-1])
        return taken[-1]

    yield one
    for ticket in taken:
        ticket.unlink(missing_ok=True)


def made(folder: Path, name: str, **status: Any) -> Run:
    """Make a run of a name with such a status."""
    run = store.create(RunConfig(name=name), folder)
    files.write_json(run.path / "status.json", store.fresh_status() | status)
    return run


UNLEARNING = {"stage": "unlearn", "stages": {"unlearn": {"done": 12, "total": 40, "unit": "steps"}}}


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"began": -180.0, "expected": 420.0}, ", at work for 3 min; about 4 min left."),
        ({"began": -180.0, "expected": 100.0, **UNLEARNING}, ", at work for 3 min; it is at unlearn, 12 of 40 steps."),
        (
            {"began": -20.0, "stage": "teach", "stages": {"teach": {"state": "running"}}},
            ", at work for 20 s; it is at teach.",
        ),
        ({"began": -20.0, "expected": None}, ", at work for 20 s."),
        ({}, ", at work."),
        ({"began": "x", "expected": "y", "stage": 3, "stages": [1]}, ", at work."),
    ],
)
def test_it_says_what_has_the_device_since_when_and_how_long_still(
    tmp_path: Path, take: Take, status: dict[str, Any], says: str
) -> None:
    if isinstance(began := status.get("began"), float):
        status = {**status, "began": now() + began}
    first, second = made(tmp_path, "MemFlex on my.csv", state="running", **status), made(tmp_path, "mine")
    assert under_way.awaited(second) is None  # it has no ticket yet
    take(first)
    take(second)
    assert str(under_way.awaited(second)) == f"Waiting for the CPU: run {first.id} (MemFlex on my.csv){says}"
    assert under_way.awaited(first) is None


def test_those_between_are_counted_and_jobs_are_called_what_they_are(tmp_path: Path, take: Take) -> None:
    run = made(tmp_path, "theirs")
    probes = Run(tmp_path / ".probes" / run.id)
    store.prepare(probes, run.config())
    files.write_json(probes.path / "status.json", store.fresh_status() | {"state": "running"})
    for job_folder in (probes, run, made(tmp_path, "more"), mine := made(tmp_path, "mine")):
        ticket = take(job_folder)
    said = str(under_way.awaited(mine))
    assert said.startswith("Waiting for the CPU: leak probes of theirs, at work")
    assert said.endswith(" 2 more are before this one.")
    ticket.unlink()
    assert under_way.awaited(mine) is None


def test_while_the_device_changes_hands_only_those_before_are_counted(tmp_path: Path) -> None:
    folder = worker.queue_folder(RunConfig().with_setting("model.device", "cpu"))
    tickets = [queue.take(folder, made(tmp_path, "theirs")), queue.take(folder, mine := made(tmp_path, "mine"))]
    assert str(under_way.awaited(mine)) == "Waiting for the CPU: 1 before it."
    for ticket in tickets:
        ticket.unlink()


def looks(job_folder: Run, monkeypatch: pytest.MonkeyPatch, terminal: bool, change: Callable[[], object]) -> str:
    """Return what is written by looking many times, with a change in the middle, and once more when it has begun."""
    written = io.StringIO()
    monkeypatch.setattr(written, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setattr(waiting, "EVERY", 0.0)
    line, status = Waiting(), {"state": "queued", "position": 2}
    for number in range(20):
        if number == 10:
            change()
        line(job_folder, status)
    line(job_folder, {"state": "running", "position": 0})
    return written.getvalue()


def test_elsewhere_than_on_a_terminal_a_line_comes_only_when_it_changes(
    tmp_path: Path, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, between, mine = (made(tmp_path, name, state="running", began=now()) for name in ("first", "between", "mine"))
    tickets = [take(run) for run in (first, between, mine)]
    lines = looks(mine, monkeypatch, False, tickets[1].unlink).splitlines()
    assert [line.endswith("1 more is before this one.") for line in lines] == [True, False]
    assert all(f"run {first.id} (first), at work for 0 s" in line for line in lines)


def test_on_a_terminal_the_line_is_renewed_in_its_place(tmp_path: Path, take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    first, mine = made(tmp_path, "first", state="running", began=now()), made(tmp_path, "mine")
    take(first)
    take(mine)
    written = looks(mine, monkeypatch, True, lambda: None)
    assert "\n" not in written
    assert f"run {first.id}" in written
    assert written.split("\r")[-2].strip() == ""  # and it is taken away in the end


@pytest.mark.usefixtures("no_process_left")
def test_ctrl_c_leaves_the_queue(tmp_path: Path, take: Take) -> None:
    first = made(tmp_path / "theirs", "theirs", state="running", began=now())
    mine = take(first)
    process = subprocess.Popen(
        [sys.executable, "-m", "core", "run", "--runs", str(tmp_path / "runs"), "--set=model.device=cpu"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    said = [process.stderr.readline(), process.stderr.readline()]
    assert said[1].startswith(f"Waiting for the CPU: run {first.id} (theirs), at work for ")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    rest = process.stderr.read().splitlines()
    assert rest == ["Leaving the queue. Ctrl-C again ends it at once.", "Cancelled before it began."]
    (run,) = store.list_runs(tmp_path / "runs")
    assert run.status()["state"] == "cancelled"
    until(lambda: [ticket.path for ticket in queue.waiting(mine.parent)] == [mine], "leaving the queue")


def test_a_run_says_how_long_it_should_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, expected = made(tmp_path, "mine"), []
    monkeypatch.setattr(worker.sweep_estimate, "expected", lambda configs, folder: 77.0)
    monkeypatch.setattr(worker.process, "resolved", lambda name: lambda *_: expected.append(run.status()["expected"]))
    assert worker.work("run", run) == 0
    assert expected == [77.0]
    assert json.loads((run.path / "status.json").read_text())["state"] == "done"
