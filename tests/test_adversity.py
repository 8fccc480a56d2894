"""What a machine does to runs: each ends in one sentence, what was made is kept, and the queue goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from core import adapters, jobs, store
from core.errors import UserError
from core.store import Run
from core.worker import Log
from tests.processes import ROOT, command, quick, state, until


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """End what a failed test leaves running."""
    yield
    end_all()


def end_all() -> None:
    for child in jobs._children:
        child.kill()
        child.wait()
    jobs.reap()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB of its own."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip() if mounted else 'no mount'}")
    yield place
    end_all()
    subprocess.run(["umount", str(place)], check=True)


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
    """Wait for a run's end and return its state."""
    until(lambda: (jobs.reap(), state(run) in store.ENDED)[1], "the end of the run", 90)
    for child in list(jobs._children):
        child.wait(30)
    return state(run)


def at_a_checkpoint(run: Run) -> None:
    until(lambda: any((run.path / "checkpoints").glob("step-*")), "a checkpoint", 90)


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


def test_full_disk_ends_in_a_sentence_and_the_run_goes_on_when_there_is_room(
    tiny_llama: Path, tiny_data: Path, small: Path, tmp_path: Path
) -> None:
    config = quick(tiny_llama, tiny_data, unlearn__steps=60, unlearn__check_every=1)
    run = jobs.submit(config, small / "runs")
    next_ = jobs.submit(config, tmp_path / "runs")
    at_a_checkpoint(run)
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
    jobs.resume(run)
    assert ended(run) == "done"
    assert {"teach", "preflight", "localize"} <= reused(run)
    assert run.json("manifest.json")["adapters"] == next_.json("manifest.json")["adapters"]
    assert not (run.path / ".room").exists()


def cached(log: Log, produce: Callable[[Path], object]) -> None:
    store.cached(log.run.path.parent, "teach", "key", log.run, lambda to: (produce(to), None)[1])


WRITERS: dict[str, Callable[[Log], object]] = {
    "status": lambda log: log.write(text="x" * 10_000),
    "event": lambda log: log.event("finding", text="x" * 10_000),
    "tensors": lambda log: adapters.write_tensors({"cell": torch.randn(100, 100)}, log.run.path / "a.safetensors"),
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


def test_folder_made_unchangeable_in_mid_run(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, frozen: Callable[[Path, bool], None]
) -> None:
    run = jobs.submit(quick(tiny_llama, tiny_data, unlearn__steps=60, unlearn__check_every=1), tmp_path / "runs")
    at_a_checkpoint(run)
    frozen(run.path, True)
    assert ended(run) == "failed"
    is_one_sentence(run, "cannot be written (Operation not permitted)", "in stage unlearn")
    assert "Make it writable" in run.status()["fix"]
    for act in (lambda: jobs.resume(run), run.cancel):
        with pytest.raises(UserError, match="cannot be written"):
            act()
    frozen(run.path, False)
    jobs.resume(run)
    assert ended(run) == "done"
    assert {"teach", "preflight", "localize"} <= reused(run)


@pytest.mark.parametrize("name", [*WRITERS, "lock"])
def test_every_way_to_write_says_that_the_disk_became_read_only(name: str, small: Path) -> None:
    run = store.create(quick(Path("m"), Path("d")), small / "runs")
    log = Log(run)
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    lock = {"lock": lambda log: store.single_worker(log.run).__enter__()}
    with pytest.raises(UserError, match=r"cannot be written .Read-only file system"):
        (WRITERS | lock)[name](log)
    for act in (run.cancel, lambda: jobs.start(run)):
        with pytest.raises(UserError, match=r"cannot be written .Read-only file system"):
            act()


# -- two at once --------------------------------------------------------------------------------------------------------


def test_of_two_workers_told_to_do_the_same_run_one_does_it_and_the_other_says_so(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path
) -> None:
    run = store.create(quick(tiny_llama, tiny_data), tmp_path)
    two = [
        subprocess.Popen(
            [sys.executable, "-m", "core.worker", str(run.path)],
            cwd=ROOT, env={**os.environ, **jobs.environment()}, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = {worker.returncode: text for worker, (_, text) in [(worker, worker.communicate(timeout=90)) for worker in two]}
    assert said.keys() == {0, 1}
    assert f"Another worker is already at the run {run.id}. Wait for it, or cancel it." in said[1]
    assert state(run) == "done"
    assert [event["kind"] for event in run.events()].count("end") == 1
