"""The queue is fair between people, a sweep gives way to others, and one person's place in it is limited."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from core.config.run_config import RunConfig
from core.jobs import lifecycle, queue_limits, sweep, sweep_runs, under_way, worker
from core.jobs import queue as tickets
from core.jobs.queue import Ticket
from core.jobs.sweep import Member
from core.runs import store
from core.runs.store import Run
from core.util import access, files, process
from core.util.errors import UserError


def test_a_worker_that_has_ended_holds_no_place_even_while_its_parent_looks_away(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    while psutil.Process(ended.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    ticket = tmp_path / f"{1:020d}-{ended.pid}"
    ticket.write_text("{}")
    assert tickets.waiting(tmp_path) == []
    assert not ticket.exists()
    ended.wait()


class Device:
    """A queue whose tickets this process takes for many people, and serves one at a time as workers do."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.made: dict[Path, str] = {}
        self.served: list[str] = []
        self.now: Ticket | None = None

    def ask(self, *names: str) -> None:
        """Take tickets: b2 is for b."""
        for name in names:
            self.patch.setenv(access.OWNER, name[0])
            self.made[tickets.take(self.folder, Run(self.folder / name))] = name

    def next(self) -> str:
        """End what is at work, and begin what is first."""
        if self.now:
            self.now.path.unlink()
        self.now = next(iter(tickets.waiting(self.folder)), None)
        if self.now is None:
            return ""
        tickets.begin(self.folder, self.now.path)
        self.served.append(self.made[self.now.path])
        return self.served[-1]

    def rest(self) -> str:
        while self.next():
            pass
        return " ".join(self.served)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(tmp_path / "queue", monkeypatch)


def test_another_process_with_a_workers_number_holds_no_place(tmp_path: Path) -> None:
    """After the power failed a number is soon given to something else, which would block the queue for as long as it
    lives."""
    mine = tickets.take(tmp_path, Run(tmp_path / "mine"))
    assert [ticket.path for ticket in tickets.waiting(tmp_path)] == [mine]
    values = json.loads(mine.read_text(encoding="utf-8"))
    mine.write_text(json.dumps(values | {"started": values["started"] - 100}), encoding="utf-8")
    assert tickets.waiting(tmp_path) == []
    assert not mine.exists()


def test_a_first_run_comes_before_anybodys_second(device: Device) -> None:
    device.ask("a1", "a2", "a3", "a4")
    device.next()
    device.ask("b1", "b2")
    device.next()
    device.ask("c1")
    assert device.rest() == "a1 b1 c1 a2 b2 a3 a4"


def test_one_who_asks_again_and_again_takes_turns_with_the_others(device: Device) -> None:
    device.ask("a1", "b1", "b2", "b3")
    for number in range(2, 5):
        device.next()
        device.ask(f"a{number}")  # a asks for the next one as soon as something has begun
    assert device.rest() == "a1 b1 a2 b2 a3 b3 a4"


def test_alone_it_is_first_come_first_served(device: Device) -> None:
    device.ask("a1", "a2")
    device.next()
    device.ask("a3")
    assert device.rest() == "a1 a2 a3"


def test_the_past_is_forgotten_with_an_empty_queue(device: Device) -> None:
    device.ask("a1")
    device.rest()
    device.now = None
    device.ask("a2", "b1")
    assert device.rest() == "a1 a2 b1"


@pytest.mark.parametrize("seed", range(8))
def test_nobody_without_a_run_waits_while_somebody_begins_a_second(seed: int, device: Device) -> None:
    draw, counts = random.Random(seed), dict.fromkeys("abcd", 0)
    device.ask("z1")  # somebody is always there, so that nothing is forgotten
    for _ in range(40):
        for _ in range(draw.randint(0, 2)):
            who = draw.choice("aaabcd")
            counts[who] += 1
            device.ask(f"{who}{counts[who]}")
        there = [device.made[t.path] for t in tickets.waiting(device.folder) if t is not device.now and not t.at_work]
        began = device.next()
        if not began:
            break
        had = {name[0] for name in device.served[:-1]}
        if began[0] in had:
            assert not [name for name in there if name[0] not in had], (began, there, device.served)
        own = [name for name in there if name[0] == began[0]]
        assert int(began[1:]) == min(int(name[1:]) for name in own)


def test_people_reorder_their_own_runs_and_nobody_elses(device: Device) -> None:
    for name in ("a1", "a2", "a3", "b1"):
        (device.folder / name).mkdir(parents=True)
        files.write_json(device.folder / name / "status.json", store.fresh_status())
    device.patch.setenv("FORGETSCOPE_QUEUE", str(device.folder.parent))
    device.ask("a1", "a2", "a3", "b1")
    assert tickets.move(Run(device.folder / "a3"), -1)
    assert not tickets.move(Run(device.folder / "b1"), -1)
    assert device.rest() == "a1 b1 a3 a2"


def test_a_sweep_gives_way_to_somebody_else_between_two_of_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(access.OWNER, "a")
    config = RunConfig().with_setting("model.device", "cpu")
    made = sweep.create(
        "grid", "many", {}, [Member(config.with_setting("seed", seed), {"seed": seed}) for seed in (1, 2, 3)], tmp_path
    )
    queue, done, other = worker.queue_folder(config), list[str](), store.create(config, tmp_path)

    def of_b(path: Path) -> None:
        while made.as_run.status().get("position") != 2 or made.as_run.status()["state"] != "queued":
            time.sleep(0.02)
        done.append("b")
        path.unlink()

    def one(_sweep: sweep.Sweep, run: Run, _cache: object) -> None:
        done.append(f"a{run.config().seed}")
        if len(done) == 1:
            monkeypatch.setenv(access.OWNER, "b")
            path = tickets.take(queue, other)
            monkeypatch.setenv(access.OWNER, "a")
            threading.Thread(target=of_b, args=(path,), daemon=True).start()

    monkeypatch.setattr(sweep_runs, "_execute_one", one)
    assert worker.work("sweep", made.as_run) == 0
    assert done == ["a1", "b", "a2", "a3"]


def test_one_person_has_a_limit_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(queue_limits.QUEUE_LENGTH, "3")
    monkeypatch.setenv(access.OWNER, "ada@uni.org")
    store.create(RunConfig(name="one"), tmp_path)
    sweep.create("grid", "two", {}, [Member(RunConfig(seed=seed), {"seed": seed}) for seed in range(5)], tmp_path)
    ended = store.create(RunConfig(name="ended"), tmp_path)
    files.write_json(ended.path / "status.json", ended.json("status.json") | {"state": "done"})
    queue_limits.starting(tmp_path)
    third = store.create(RunConfig(name="three"), tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for more in (
        lambda: lifecycle.submit(RunConfig(), tmp_path),
        lambda: lifecycle.resume(ended),
        lambda: sweep.create("grid", "x", {}, [Member(RunConfig(), {})], tmp_path),
    ):
        with pytest.raises(UserError, match=r"You have 3 runs in the queue, and 3 is what one person may have\. Wait"):
            more()
    assert sorted(tmp_path.rglob("*")) == before
    assert [(work.kind, work.owner) for work in under_way.work(tmp_path)] == [
        ("run", "ada@uni.org"),
        ("sweep", "ada@uni.org"),
        ("run", "ada@uni.org"),
    ]
    for somebody in ("bob@uni.org", ""):  # another one, and the command line
        monkeypatch.setenv(access.OWNER, somebody)
        queue_limits.starting(tmp_path)
    monkeypatch.setenv(access.OWNER, "ada@uni.org")
    files.write_json(third.path / "status.json", third.json("status.json") | {"state": "cancelled"})
    queue_limits.starting(tmp_path)


@pytest.mark.parametrize("text", ["0", "-1", "ten", "1e3", "9" * 30, "٣"])
def test_a_limit_that_is_none_is_said(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(queue_limits.QUEUE_LENGTH, text)
    monkeypatch.setenv(access.OWNER, "ada@uni.org")
    with pytest.raises(UserError, match="is no number of runs"):
        queue_limits.starting(tmp_path)


def test_a_worker_works_for_whom_it_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    access.identify(lambda: "ada@uni.org")
    try:
        assert process.environment()[access.OWNER] == "ada@uni.org"
        assert store.fresh_status()["owner"] == "ada@uni.org"
    finally:
        access.identify(access.of_process)
