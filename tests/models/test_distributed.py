"""Several processes that do one run: the same numbers as one, and they end together."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
import torch.distributed

from core.config.stages import LocalizeConfig
from core.jobs import lifecycle
from core.models.distributed import ALONE, Group, Processes, dealt
from core.pipeline import localize
from core.pipeline.stage import cached
from core.runs.store import Run
from core.util.errors import UserError
from core.util.progress import Reporter
from tests import processes
from tests.naive import Bench
from tests.pipeline.test_pipeline import execute
from tests.processes import quick, state, until

pytestmark = pytest.mark.usefixtures("no_process_left")

T = TypeVar("T")

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def at_work(run: Run) -> list[psutil.Process]:
    """Return the processes that name a run on their command line: its launcher and those it started."""
    processes = []
    for process in psutil.process_iter(["cmdline"]):
        if str(run.path) in (process.info["cmdline"] or []) and process.status() != psutil.STATUS_ZOMBIE:
            processes.append(process)
    return processes


def members(run: Run) -> list[psutil.Process]:
    """Return those of a run's processes that are neither the launcher nor the main process."""
    main = int(run.status()["pid"])
    return [p for p in at_work(run) if "core.jobs" in p.cmdline()[:5] and p.pid != main]


def ended(run: Run) -> str:
    processes.ended(run)
    until(lambda: (lifecycle.reap(), not at_work(run))[1], "the end of all its processes", 40)
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


def test_group_of_one_keeps_everything_as_it_is() -> None:
    items = [3, 1, 2]
    assert ALONE.is_main
    assert ALONE.shard(items, lambda n: n) == items
    assert ALONE.all_gather("a") == ["a"]
    assert ALONE.counted(2, 5) == 2


@dataclass
class Part(Group):
    """One of several processes that are not there: it does its share, and sums are what it has."""

    rank: int
    size: int

    def shard(self, items: Sequence[T], weight: Callable[[T], int]) -> list[T]:
        return dealt(items, weight, self.rank, self.size)


def test_gradients_of_the_parts_add_up_to_the_whole(bench: Bench) -> None:
    members, targets = localize.perturbed(bench.unlearn, LocalizeConfig(copies=2), bench.words, 0)

    def gradient(group: Group) -> dict[str, torch.Tensor]:
        return localize.gradient(bench.adapters, members, targets, 2, localize.Counter(Reporter(), 1, group))

    whole, parts = gradient(ALONE), [gradient(Part(rank, 2)) for rank in range(2)]
    for name, value in whole.items():
        torch.testing.assert_close(sum(part[name] for part in parts), value, rtol=1e-5, atol=1e-7)
        assert all(part[name].norm() > 0 and not torch.allclose(part[name], value, rtol=1e-3) for part in parts)


def test_a_failure_reaches_every_other_process_once() -> None:
    words = torch.distributed.HashStore()
    main, member, other = (object.__new__(Processes) for _ in range(3))
    for rank, group in enumerate((main, member, other)):
        group.rank, group.size, group._store, group._looked = rank, 3, words, 0.0
    main.check()
    leaving = threading.Thread(target=member.leave, args=(UserError("The disk is full.", "Free space."),))
    leaving.start()
    until(lambda: words.check(["ended"]), "the word of the first")
    assert leaving.is_alive()  # its launcher would end the main process at once
    other.leave(UserError("Something that came of it."))
    for group in (other, main):
        group._looked = 0.0
        with pytest.raises(UserError, match="The disk is full"):
            group.check()
    leaving.join(5)
    assert not leaving.is_alive()


def test_what_the_main_process_makes_alone_has_the_threads_of_all(tmp_path: Path) -> None:
    threads, seen = torch.get_num_threads(), dict[bool, int]()
    for together in (True, False):
        run = Run(tmp_path / str(together))
        cached(
            Part(0, 3),
            tmp_path,
            "stage",
            str(together),
            run,
            lambda _, together=together: seen.update({together: torch.get_num_threads()}),
            together=together,
        )
    assert seen == {True: threads, False: 3 * threads}
    assert torch.get_num_threads() == threads


def values(tree: Any, path: str = "") -> dict[str, Any]:
    """Return every number and text of a JSON value by its path."""
    if not isinstance(tree, dict | list):
        return {path: tree}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return {key: value for name, inner in items for key, value in values(inner, f"{path}/{name}").items()}


def test_two_processes_give_the_numbers_of_one(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = quick(tiny_llama, tiny_data, teach__epochs=3, evaluate__extras=True, unlearn__learning_rate=0.1)
    two = lifecycle.submit(config.with_setting("processes", 2), tmp_path / "two")
    one, _ = execute(config, tmp_path / "one")
    assert ended(two) == "done", two.status()
    assert two.json("manifest.json")["processes"] == 2
    assert not [e for e in two.events() if e["kind"] == "finding" and "Processes" in e["text"]]
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
    for name in ("recorded.json", "metrics.json"):
        first, second = values(one.json(name)), values(two.json(name))
        assert first.keys() == second.keys()
        for path, value in first.items():
            if any(scope in path for scope in ("everyday/", "nobody/")):
                continue  # a model of random weights hesitates between words, and the last bit decides
            assert second[path] == (pytest.approx(value, rel=1e-5, abs=1e-5) if isinstance(value, float) else value), path
    scored = [[row for row in run.answers() if row["split"]] for run in (one, two)]
    assert scored[0] == scored[1]


@pytest.mark.long
def test_processes_end_together(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = quick(tiny_llama, tiny_data, processes=2, unlearn__steps=100_000, unlearn__check_every=5)
    run = lifecycle.submit(config, tmp_path)
    until(lambda: any((run.path / "checkpoints").glob("*")), "a checkpoint", 90)
    (member,) = members(run)
    os.kill(member.pid, signal.SIGKILL)
    assert ended(run) == "failed"
    assert "process" in run.status()["error"]
    lifecycle.resume(run)
    until(lambda: run.status()["stages"].get("unlearn", {}).get("done", 0) > 5, "a checkpoint after resuming", 90)
    run.cancel()
    assert ended(run) == "cancelled"
    assert not list(tmp_path.glob(".cache/group/*.partial"))
    assert (run.path / "after" / "region.safetensors").exists()
