"""What a machine does to runs: each ends in one sentence, what was made is kept, and the queue goes on."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from core.config import own_methods
from core.jobs import lifecycle, queue
from core.jobs.__main__ import NICENESS
from core.jobs.status_log import Log
from core.models import adapter_files
from core.runs import locks, stage_files, store
from core.runs.store import Run
from core.util import failure_sentences, files
from core.util import process as process_
from core.util.errors import UserError
from tests import hub, processes
from tests.e2e.serving import Server
from tests.processes import ROOT, command, quick, state, until

pytestmark = pytest.mark.usefixtures("no_process_left")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB of its own."""
    small_disk = tmp_path / "small"
    small_disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(small_disk)], capture_output=True, text=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip() if mounted else 'no mount'}")
    yield small_disk
    processes.end_all(small_disk)
    subprocess.run(["umount", str(small_disk)], check=True)


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[Callable[[Path, bool], None]]:
    """A function that makes a folder unchangeable, even for root, and changeable again."""
    probe = tmp_path / "probe"
    probe.mkdir()
    made: set[Path] = set()

    def freeze(folder: Path, on: bool) -> None:
        subprocess.run(["chattr", "+i" if on else "-i", str(folder)], check=True, capture_output=True)
        (made.add if on else made.discard)(folder)

    try:
        freeze(probe, True)
        freeze(probe, False)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"folders cannot be made unchangeable here: {error}")
    yield freeze
    for folder in list(made):
        freeze(folder, False)


def fill(folder: Path) -> Path:
    """Take the last page of a file system; return what takes it."""
    path = folder / "filler"
    with path.open("ab", buffering=0) as file:
        for size in (2**16, 2**12):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return path


def ended(run: Run) -> str:
    """Wait for a run's end and that of its worker; return its state."""
    processes.ended(run)
    for child in list(lifecycle._children):
        child.wait(30)
    return state(run)


def at_a_checkpoint(run: Run) -> None:
    until(lambda: any((run.path / "checkpoints").glob("step-*")), "a checkpoint", 240)


def is_one_sentence(run: Run, *words: str) -> None:
    """Check what a person reads of a failed run, on the page and in the shell."""
    status = run.status()
    assert status["state"] == "failed"
    assert all(word in status["error"] for word in words), status["error"]
    assert "\n" not in status["error"]
    assert "Traceback" not in (run.path / "worker.log").read_text()
    assert status["fix"]


def reused(run: Run) -> set[str]:
    return {name for name, stage in run.json("manifest.json")["stages"].items() if stage["reused"]}


# -- the disk -----------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_full_disk_ends_in_a_sentence_and_the_run_goes_on_when_there_is_room(
    tiny_llama: Path, tiny_data: Path, small: Path, tmp_path: Path
) -> None:
    config = quick(tiny_llama, tiny_data, unlearn__steps=60, unlearn__check_every=1)
    run = lifecycle.submit(config, small / "runs")
    at_a_checkpoint(run)
    next_ = lifecycle.submit(config, tmp_path / "runs")  # it waits for the device
    filler = fill(small)
    assert ended(run) == "failed"
    is_one_sentence(run, "cannot be written (No space left on device)")
    assert "Free space" in run.status()["fix"]
    assert run.events()[-1]["kind"] == "end"
    assert any((run.path / "checkpoints").glob("step-*"))
    shown = command("show", run.id, "--runs", str(small / "runs"))
    assert shown.returncode == 0
    assert "No space left on device" in shown.stdout
    assert ended(next_) == "done"
    filler.unlink()
    lifecycle.resume(run)
    assert ended(run) == "done"
    assert {"teach", "preflight", "localize"} <= reused(run)
    assert run.json("manifest.json")["adapters"] == next_.json("manifest.json")["adapters"]
    assert not (run.path / ".room").exists()


def cached(log: Log, produce: Callable[[Path], object]) -> None:
    stage_files.cached(log.run.path.parent, "teach", "key", log.run, lambda to: (produce(to), None)[1])


WRITERS: dict[str, Callable[[Log], object]] = {
    "status": lambda log: log.write(text="x" * 10_000),
    "event": lambda log: log.event("finding", text="x" * 10_000),
    "tensors": lambda log: adapter_files.write_tensors({"cell": torch.randn(100, 100)}, log.run.path / "a.safetensors"),
    "parquet": lambda log: cached(log, lambda to: pd.DataFrame({"x": np.random.rand(9999)}).to_parquet(to / "a")),
    "arrays": lambda log: cached(log, lambda to: np.savez_compressed(to / "a.npz", x=np.random.rand(9999))),
    "files": lambda log: cached(log, lambda to: shutil.copyfile(sys.executable, to / "a")),
    "run": lambda log: store.create(log.run.config(), log.run.path.parent),
}
"""what writes in its own way"""


@pytest.mark.parametrize("name", WRITERS)
def test_every_way_to_write_says_that_the_disk_is_full_and_spoils_nothing(name: str, small: Path) -> None:
    run = store.create(quick(Path("m"), Path("d")), small / "runs")
    log = Log(run)
    log.event("finding", text="the first")
    before = run.json("status.json")
    filler = fill(small)
    with pytest.raises(UserError, match=r"cannot be written .No space left on device"):
        WRITERS[name](log)
    assert run.json("status.json") == before
    filler.unlink()
    log.event("finding", text="the last")
    assert [event["text"] for event in run.events()] == ["the first", "the last"]
    assert not list(small.rglob("*.partial"))
    assert not list(small.rglob(".status.json.*"))


def test_events_stay_where_no_further_one_can_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = store.create(quick(Path("m"), Path("d")), tmp_path)
    log = Log(run)
    log.event("finding", text="the first")
    opens = Path.open

    def too_many(path: Path, *mode: Any, **more: Any) -> Any:
        if path.name == "events.jsonl" and mode == ("ab",):
            raise OSError(errno.EMFILE, "Too many open files")
        return opens(path, *mode, **more)

    monkeypatch.setattr(Path, "open", too_many)
    with pytest.raises(UserError, match="Too many open files"):
        log.event("finding", text="the second")
    assert [event["text"] for event in run.events()] == ["the first"]


@pytest.mark.long
def test_folder_made_unchangeable_in_mid_run(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, frozen: Callable[[Path, bool], None]
) -> None:
    run = lifecycle.submit(quick(tiny_llama, tiny_data, unlearn__steps=60, unlearn__check_every=1), tmp_path / "runs")
    at_a_checkpoint(run)
    frozen(run.path, True)
    assert ended(run) == "failed"
    is_one_sentence(run, "cannot be written (Operation not permitted)", "in stage unlearn")
    assert "Make it writable" in run.status()["fix"]
    for act in (lambda: lifecycle.resume(run), run.cancel):
        with pytest.raises(UserError, match="cannot be written"):
            act()
    frozen(run.path, False)
    lifecycle.resume(run)
    assert ended(run) == "done"
    assert {"teach", "preflight", "localize"} <= reused(run)


@pytest.mark.parametrize("name", [*WRITERS, "lock"])
def test_every_way_to_write_says_that_the_disk_became_read_only(name: str, small: Path) -> None:
    run = store.create(quick(Path("m"), Path("d")), small / "runs")
    log = Log(run)
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    lock = {"lock": lambda log: locks.single_worker(log.run).__enter__()}
    with pytest.raises(UserError, match=r"cannot be written .Read-only file system"):
        (WRITERS | lock)[name](log)
    for act in (run.cancel, lambda: lifecycle.start("run", run)):
        with pytest.raises(UserError, match=r"cannot be written .Read-only file system"):
            act()


# -- two at once --------------------------------------------------------------------------------------------------------


def test_of_two_workers_told_to_do_the_same_run_one_does_it_and_the_other_says_so(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path
) -> None:
    run = store.create(quick(tiny_llama, tiny_data), tmp_path)
    two = [
        subprocess.Popen(
            [sys.executable, "-m", "core.jobs", "run", str(run.path)],
            cwd=ROOT,
            env={**os.environ, **process_.environment()},
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = {}
    for process in two:
        text = process.communicate(timeout=90)[1]
        said[process.returncode] = text
    assert said.keys() == {0, 1}
    assert f"Another worker is already at the run {run.id}. Wait for it, or cancel it." in said[1]
    assert state(run) == "done"
    assert [event["kind"] for event in run.events()].count("end") == 1


RACE = """
import sys, time
from pathlib import Path
from core.jobs import lifecycle
from core.runs import trash
from core.runs.store import Run
from core.util.errors import UserError

run, go = Run(Path(sys.argv[2])), Path(sys.argv[3])
sys.stdout.write("ready\\n")
sys.stdout.flush()
while not go.exists():
    time.sleep(0.001)
try:
    {"resume": lifecycle.resume, "delete": trash.delete}[sys.argv[1]](run)
except UserError as error:
    sys.stdout.write(f"{error}\\n")
"""
"""what a server does for somebody who presses a button, at the moment when a file appears"""


def at_once(act: str, run: Run, go: Path) -> list[str]:
    """Let two processes do the same at the same moment; return what each said, the one that succeeded first."""
    two = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, act, str(run.path), str(go)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in two:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    go.touch()
    return sorted(process.communicate(timeout=60)[0] for process in two)


def test_two_servers_on_one_folder_do_nothing_twice(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    servers = [Server(tmp_path), Server(tmp_path)]
    run = store.create(quick(tiny_llama, tiny_data), tmp_path / "runs")
    files.write_json(run.path / "status.json", store.fresh_status() | {"state": "cancelled"})
    try:
        for server in servers:
            server.start()
        first, second = at_once("resume", run, tmp_path / "resume")
        assert not first
        assert run.id in second
        assert ended(run) == "done"
        assert [event["kind"] for event in run.events()].count("end") == 1
        assert all(server.process and server.process.poll() is None for server in servers)
    finally:
        for server in servers:
            server.stop()
    first, second = at_once("delete", run, tmp_path / "delete")
    assert not first
    assert run.id in second
    assert len(list((tmp_path / "runs" / ".trash").iterdir())) == 1


# -- memory -------------------------------------------------------------------------------------------------------------

GREEDY = """
from dataclasses import dataclass
from typing import ClassVar

import torch

from core.methods import Method


@dataclass(frozen=True)
class Greedy(Method):
    name: ClassVar[str] = "greedy"

    def loss(self, context):
        return context.forget.loss().mean() + torch.empty(2**34)[0] * 0
"""
"""a method whose first step asks for 64 GB"""


@pytest.mark.long
def test_memory_limit_costs_one_run_and_not_the_next(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMITED", "yes")  # another environment, so another server to fork from, which inherits the limit
    (tmp_path / "greedy.py").write_text(GREEDY)
    config = quick(tiny_llama, tiny_data)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, limits[1]))
    try:
        run = lifecycle.submit(
            config.with_setting("unlearn.method", own_methods.named(f"{tmp_path / 'greedy.py'}:Greedy")), tmp_path / "runs"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    until(lambda: run.status()["stage"], "its turn", 240)
    next_ = lifecycle.submit(config, tmp_path / "runs")  # it waits for the device
    assert ended(run) == "failed"
    is_one_sentence(run, "ran out of memory", "of the 16384 MB that it may address")
    assert run.status()["stage"] == "unlearn"
    assert ended(next_) == "done"
    assert {"teach", "preflight", "localize"} <= reused(next_)


def test_memory_that_suffices_for_no_library_is_one_sentence_too(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    run = store.create(quick(tiny_llama, tiny_data), tmp_path)
    subprocess.run(
        ["bash", "-c", f"ulimit -v 512000; exec {sys.executable} -m core.jobs run {run.path} 2>> {run.path}/worker.log"],
        cwd=ROOT,
        env={**os.environ, **process_.environment()},
        timeout=60,
        check=False,
    )
    is_one_sentence(run, "ran out of memory", "of the 500 MB")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "ran out of memory"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"),
            "machine ran out",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB."), "The GPU ran out of memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "machine ran out of memory"),
        (OSError(errno.ENOSPC, "No space left on device", "/there/file"), "/there/file cannot be written (No space left"),
        (
            OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"),
            "/here cannot be written (No space left",
        ),
    ],
)
def test_what_libraries_raise_becomes_a_sentence(error: Exception, said: str) -> None:
    assert said in str(failure_sentences.explained(error, Path("/here")))
    outer = RuntimeError("could not do it")
    outer.__cause__ = error
    assert said in str(failure_sentences.explained(outer, Path("/here")))


@pytest.mark.parametrize(
    "error", [ValueError("no"), PermissionError(errno.EACCES, "Permission denied", "/data.csv"), KeyError("memory")]
)
def test_other_errors_are_not_the_machine_s(error: Exception) -> None:
    assert failure_sentences.explained(error, Path("/here")) is None


# -- the clock ----------------------------------------------------------------------------------------------------------

CLOCK = """
import os, time

real, real_ns, back = time.time, time.time_ns, os.environ.get("CLOCK_BACK", "")
time.time = lambda: real() - (7200 if os.path.exists(back) else 0)
time.time_ns = lambda: real_ns() - (7200 * 10**9 if os.path.exists(back) else 0)
"""
"""sitecustomize of the workers: the clock is set back by two hours when a file appears"""


def test_clock_set_back_in_mid_run(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(CLOCK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"))
    monkeypatch.setenv("CLOCK_BACK", str(tmp_path / "back"))
    began, boot = time.monotonic(), psutil.boot_time()
    run = lifecycle.submit(quick(tiny_llama, tiny_data, unlearn__steps=60, unlearn__check_every=1), tmp_path / "runs")
    at_a_checkpoint(run)
    (tmp_path / "back").touch()
    monkeypatch.setattr(psutil, "boot_time", lambda: boot - 7200)  # what the system then says of itself
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: boot - 7200)
    assert state(run) == "running"
    assert psutil.Process(run.status()["pid"]).nice() >= NICENESS
    assert ended(run) == "done"
    took = time.monotonic() - began
    status = run.status()
    assert 0 < status["ended"] - status["began"] < took
    assert 0 < status["seconds"] < took
    assert all(0 <= stage["seconds"] < took for stage in run.json("manifest.json")["stages"].values())
    times = [event["t"] for event in run.events()]
    assert times == sorted(times)


def test_a_ticket_taken_after_the_clock_was_set_back_is_still_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, now = tmp_path / "cpu", time.time_ns()
    first = queue.take(folder, Run(tmp_path / "first"))
    monkeypatch.setattr(time, "time_ns", lambda: now - 7200 * 10**9)
    second = queue.take(folder, Run(tmp_path / "second"))
    assert [queue.ahead(folder, ticket) for ticket in (first, second)] == [0, 1]


# -- the network --------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_network_that_goes_while_a_model_is_fetched(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub.serving(tiny_llama, 50_000, silent=False) as breaking, hub.serving(tiny_llama, 50_000, silent=True) as silent:
        runs = {}
        for serves in (breaking, silent):
            folder = tmp_path / str(serves.server_port)
            for name, value in {
                "HF_ENDPOINT": serves.url,
                "HF_HOME": folder / "hf",
                "FORGETSCOPE_QUEUE": folder / "queue",
            }.items():
                monkeypatch.setenv(name, str(value))
            runs[serves] = lifecycle.submit(quick(Path(hub.NAME), tiny_data), folder / "runs")
        for serves, run in runs.items():
            assert ended(run) == "failed"
            assert serves.gone
            assert run.status()["heartbeat"] - serves.gone < 20  # its last word
            is_one_sentence(run, f"The network was lost while the model “{hub.NAME}” was fetched")
        silent.gone, silent.ends_after = 0.0, 0
        lifecycle.resume(runs[silent])  # in its own queue: the environment is still the second one's
        assert ended(runs[silent]) == "done"
