"""Several processes that do one run: the same numbers as one, and they end together."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from core import jobs, store
from core.crew import ALONE, dealt
from core.store import Run
from tests.processes import quick, state, until

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(autouse=True)
def no_process_left(tmp_path: Path) -> object:
    """End what a failed test leaves running."""
    yield
    for run in store.list_runs(tmp_path):
        for process in at_work(run):
            process.kill()
    jobs.reap()


def at_work(run: Run) -> list[psutil.Process]:
    """Return the processes that name a run on their command line: its launcher and those it started."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if str(run.path) in (process.info["cmdline"] or []) and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def members(run: Run) -> list[psutil.Process]:
    """Return those of a run's processes that are neither the launcher nor the chief."""
    chief = int(run.status()["pid"])
    return [p for p in at_work(run) if "core.worker" in p.cmdline()[:5] and p.pid != chief]


def ended(run: Run) -> str:
    until(lambda: (jobs.reap(), state(run) in store.ENDED)[1], "the end of the run", 90)
    until(lambda: (jobs.reap(), not at_work(run))[1], "the end of all its processes", 40)
    return state(run)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_dealt_gives_each_item_to_one_process_in_even_parts(size: int) -> None:
    lengths = [int(n) for n in np.random.default_rng(0).integers(10, 200, 50)]
    parts = [dealt(lengths, lambda n: n, rank, size) for rank in range(size)]
    assert sorted(n for part in parts for n in part) == sorted(lengths)
    counts, weights = [len(part) for part in parts], [sum(part) for part in parts]
    assert counts[0] == max(counts) <= min(counts) + 1
    assert max(weights) - min(weights) <= max(lengths)
    assert dealt([], lambda n: n, 0, size) == []


def test_crew_of_one_keeps_everything_as_it_is() -> None:
    items = [3, 1, 2]
    assert ALONE.chief
    assert ALONE.share(items, lambda n: n) == items
    assert ALONE.gather("a") == ["a"]
    assert ALONE.counted(2, 5) == 2


def test_two_processes_give_the_numbers_of_one(unlearned_run: Run, tmp_path: Path) -> None:
    two = jobs.submit(unlearned_run.config().with_setting("processes", 2), tmp_path)
    assert ended(two) == "done", two.status()
    one = unlearned_run
    assert two.json("manifest.json")["processes"] == 2
    assert not [e for e in two.events() if e["kind"] == "finding" and "processes" in e["text"]]
    for name in ("localization", "separability", "changes", "tokens"):
        first, second = one.table(name), two.table(name)
        assert first is not None
        assert second is not None
        numbers = first.select_dtypes("number").columns
        assert len(numbers)
        np.testing.assert_allclose(second[numbers], first[numbers], **CLOSE, err_msg=name)
    taught = [pd.DataFrame(run.json("teach.json")["curve"]) for run in (one, two)]
    np.testing.assert_allclose(taught[1], taught[0], **CLOSE)
    assert two.json("region.json")["tensors"] == one.json("region.json")["tensors"]
    scores = [
        pd.json_normalize({name: of["values"] for name, of in run.json("metrics.json")["metrics"].items()})
        for run in (one, two)
    ]
    np.testing.assert_allclose(scores[1][scores[0].columns].astype(float), scores[0].astype(float), **CLOSE)
    assert two.answers() == one.answers()


def test_processes_end_together(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = quick(tiny_llama, tiny_data, processes=2, unlearn__steps=100_000, unlearn__check_every=5)
    run = jobs.submit(config, tmp_path)
    until(lambda: any((run.path / "checkpoints").glob("*")), "a checkpoint", 90)
    (member,) = members(run)
    os.kill(member.pid, signal.SIGKILL)
    assert ended(run) == "failed"
    assert "process" in run.status()["error"]
    jobs.resume(run)
    until(lambda: run.status()["stages"].get("unlearn", {}).get("done", 0) > 5, "a checkpoint after resuming", 90)
    run.cancel()
    assert ended(run) == "cancelled"
    assert (run.path / "after" / "region.safetensors").exists()
