"""Labels, trash, the queue's order, and the overview of runs: what people do to runs, and what lists say about them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config import run_config
from core.config.run_config import RunConfig
from core.jobs import queue
from core.jobs.status_log import Log
from core.jobs.worker import turn
from core.runs import labels, layout, locks, overview, store, trash
from core.runs.labels import Label
from core.runs.store import Run
from core.runs.voices import SPOKEN
from core.util import files
from core.util.errors import UserError


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = store.create(RunConfig(name="mine"), tmp_path / "runs")
    ended(made)
    return made


def ended(run: Run, state: str = "done") -> None:
    files.write_json(run.path / "status.json", {**store.fresh_status(), "state": state})


# -- labels -----------------------------------------------------------------------------------------------------------


def test_a_label_is_kept_beside_the_configuration(run: Run) -> None:
    before = (run.path / "config.json").read_bytes()
    labels.change(run, name="  My   run ", tags=("a", "a ", "", "b"))
    labels.change(run, pinned=True)
    labels.change(run, note="why")
    assert labels.read(run) == Label("My run", True, ("a", "b"), "why")
    assert run.json("label.json") == {"format": 1, "name": "My run", "pinned": True, "tags": ["a", "b"], "note": "why"}
    assert (run.path / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    "text", ["{", "[]", "3", '{"name": 3, "tags": "x", "note": [], "pinned": "yes"}', '{"tags": [1, null]}']
)
def test_a_damaged_label_is_an_empty_one(text: str, run: Run) -> None:
    (run.path / "label.json").write_text(text)
    assert labels.read(run) == Label()


def test_a_label_has_limits(run: Run) -> None:
    label = labels.change(run, name="n" * 999, note="x" * 99_999, tags=[f"{i}" * 99 for i in range(99)])
    assert (len(label.name), len(label.note), len(label.tags), len(label.tags[0])) == (80, 4000, 12, 30)


def test_two_browsers_do_not_undo_each_other(run: Run) -> None:
    threads = [
        threading.Thread(target=labels.change, args=(run,), kwargs={field: value})
        for field, value in (("name", "n"), ("pinned", True), ("note", "x"), ("tags", ("t",)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert labels.read(run) == Label("n", True, ("t",), "x")


def test_bundled_and_absent_runs_get_no_label(run: Run) -> None:
    with pytest.raises(UserError, match="bundled"):
        labels.change(store.bundled_runs()[0], name="x")
    shutil.rmtree(run.path)
    with pytest.raises(UserError, match="not here any more"):
        labels.change(run, name="x")
    assert not run.path.exists()


# -- trash ------------------------------------------------------------------------------------------------------------


def test_a_deleted_run_comes_back_whole(run: Run) -> None:
    folder, before = run.path.parent, sorted(p.name for p in run.path.iterdir())
    trash.delete(run)
    assert store.list_runs(folder) == []
    item = trash.content(folder)[0]  # found from the disk alone: a server may have restarted
    assert item.id == run.id
    assert abs(item.when - time.time()) < 60
    assert trash.restore(item) == run
    assert [name for name in sorted(p.name for p in run.path.iterdir()) if name != ".worker.lock"] == before
    assert trash.content(folder) == []


def test_living_and_bundled_runs_stay(run: Run) -> None:
    with pytest.raises(UserError, match="bundled"):
        trash.delete(store.bundled_runs()[0])
    files.write_json(run.path / "status.json", store.fresh_status())
    with pytest.raises(UserError, match="queued"):
        trash.delete(run)
    ended(run)
    with locks.single_worker(run), pytest.raises(UserError, match="Another worker"):
        trash.delete(run)
    assert run.path.is_dir()


def test_an_unreadable_run_can_be_deleted(run: Run) -> None:
    (run.path / "config.json").write_text("{")
    (run.path / "status.json").unlink()
    trash.delete(run)
    assert not run.path.exists()


def test_what_somebody_else_took_is_said(run: Run) -> None:
    item = trash.delete(run)
    trash.restore(item)
    with pytest.raises(UserError, match="not in the trash"):
        trash.restore(item)
    item = trash.delete(run)
    trash.purge([item, item])
    with pytest.raises(UserError, match="not here any more"):
        trash.delete(run)


def test_a_restored_run_makes_way_for_one_of_its_name(run: Run) -> None:
    item = trash.delete(run)
    run.path.mkdir()
    assert trash.restore(item).id == f"{run.id}-2"


def test_what_cannot_be_removed_is_told_once_and_never_comes_back(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    item, folder = trash.delete(run), run.path.parent
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)  # as where a folder in it belongs to somebody else
        with pytest.raises(UserError, match="not all files could be removed"):
            trash.purge([item])
    assert trash.content(folder) == []
    trash.purge_old(folder)
    with pytest.raises(UserError, match="not in the trash any more"):
        trash.restore(item)
    trash.purge_old(folder, time.time() + trash.KEPT + 60)
    assert list((folder / layout.TRASH).iterdir()) == []


@pytest.mark.parametrize("place", [".probes", ".references"])
def test_a_run_is_not_deleted_under_later_work_on_it(run: Run, place: str) -> None:
    work = run.path.parent / place / run.id
    work.mkdir(parents=True)
    files.write_json(work / "status.json", store.fresh_status())
    with pytest.raises(UserError, match="is under way"):
        trash.delete(run)
    files.write_json(work / "status.json", store.fresh_status() | {"state": "done"})
    trash.delete(run)


def test_the_trash_is_emptied_after_a_day(run: Run) -> None:
    folder = run.path.parent
    trash.delete(run)
    (folder / ".import-killed").mkdir()
    trash.purge_old(folder)
    assert trash.content(folder)
    assert (folder / ".import-killed").exists()
    trash.purge_old(folder, time.time() + trash.KEPT + 60)
    assert trash.content(folder) == []
    assert not (folder / ".import-killed").exists()


# -- queue ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Run]]:
    """Three waiting runs, each with a living process that took a ticket."""
    sleepers, runs = [], []
    for name in "abc":
        made = store.create(RunConfig(name=name), tmp_path / "runs")
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
        sleepers.append(process)
        path = queue.take(queue.base() / "cpu", made)
        files.write_json(
            path, json.loads(path.read_text(encoding="utf-8")) | {"started": 0}
        )  # the sleeper's, not this process's
        path.rename(path.with_name(f"{path.name.partition('-')[0]}-{process.pid}"))
        status = made.json("status.json") | {"pid": process.pid}
        files.write_json(made.path / "status.json", status)
        runs.append(made)
    yield runs
    for process in sleepers:
        process.kill()
        process.wait()


def order(of: list[Run]) -> str:
    names = {run.path: run.config().name for run in of}
    return "".join(names[ticket.run] for ticket in queue.queues()["cpu"] if ticket.run)


def test_waiting_runs_change_places(three: list[Run]) -> None:
    assert order(three) == "abc"
    assert queue.move(three[2], -1)
    assert order(three) == "acb"
    assert queue.move(three[2], -1)
    assert order(three) == "cab"
    assert not queue.move(three[2], -1)
    assert queue.move(three[2], +1)
    assert order(three) == "acb"
    assert not queue.move(three[1], +1)


def test_nobody_gets_before_the_run_at_work(three: list[Run]) -> None:
    status = three[0].json("status.json") | {"state": "running"}
    files.write_json(three[0].path / "status.json", status)
    assert not queue.move(three[0], +1)
    assert not queue.move(three[1], -1)
    assert queue.move(three[1], +1)
    assert order(three) == "acb"


def test_equal_places_can_be_told_apart(three: list[Run]) -> None:
    for ticket in queue.waiting(queue.base() / "cpu"):
        files.write_json(ticket.path, {"run": str(ticket.run), "order": 5})
    first = order(three)
    assert queue.move(three["abc".index(first[0])], +1)
    assert order(three) == first[1] + first[0] + first[2]


def test_damaged_and_dead_tickets_hurt_nobody(three: list[Run]) -> None:
    folder = queue.base() / "cpu"
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    (folder / f"{1:020d}-{dead.stdout.strip()}").write_text("{")
    (folder / "9-x").write_text("")
    damaged = folder / f"{2:020d}-{os.getpid()}"
    damaged.touch()
    assert queue.waiting(folder)[0].run is None
    assert order(three) == "abc"
    assert queue.move(three[0], -1)
    damaged.unlink()


def test_a_worker_follows_the_order(three: list[Run], tmp_path: Path) -> None:
    """A real waiting worker: it is last of four, then is moved to the front and gets the device."""
    mine = store.create(RunConfig().with_setting("model.device", "cpu"), tmp_path / "runs")
    got = threading.Event()
    log = Log(mine)

    def wait() -> None:
        with turn(mine.config(), log):
            got.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    for _ in range(100):
        if mine.status().get("position") == 4:
            break
        time.sleep(0.05)
    assert mine.status()["position"] == 4
    assert not got.is_set()
    for _ in range(3):
        assert queue.move(mine, -1)
    assert got.wait(10)
    thread.join(10)
    assert order([*three, mine]) == "abc"


# -- overview ---------------------------------------------------------------------------------------------------------


def test_an_overview_has_each_score_with_its_control() -> None:
    run = store.bundled_runs()[0]
    row, config, metrics = overview.overview(run), run.config(), run.json("metrics.json")["metrics"]
    assert (row.state, row.model, row.data) == ("done", "bundled", "demo privacy")
    assert row.method == config.unlearn.method.label
    assert row.region.startswith(config.region.name)
    accuracy = metrics["accuracy"]["values"]
    assert set(row.success) == {f"{voice}/{part}" for voice in SPOKEN for part in overview.PARTS}
    for voice in ("after", "never", "retrained"):
        assert row.success[f"{voice}/unlearn/val"] == 100 - accuracy[voice]["unlearn/val"]
    assert row.knew == {split: metrics["never_knew"]["values"]["after"][split] for split in ("train", "val")}
    assert row.seconds == pytest.approx(sum(stage["seconds"] for stage in run.json("manifest.json")["stages"].values()))
    assert row.peak_memory == 2**20 * max(stage["peak_memory_mb"] for stage in run.json("manifest.json")["stages"].values())
    assert row.size == sum(path.lstat().st_size for path in run.path.rglob("*") if not path.is_dir())


def test_an_overview_is_read_again_only_when_a_file_changed(run: Run) -> None:
    first = overview.overview(run)
    assert overview.overview(run) is first
    labels.change(run, name="Another")
    assert overview.overview(run).name == "Another"


def test_a_worker_that_died_shows_at_once(run: Run) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    files.write_json(run.path / "status.json", store.fresh_status() | {"state": "running", "pid": process.pid})
    assert overview.overview(run).state == "running"
    process.kill()
    process.wait()
    assert overview.overview(run).state == "failed"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("config.json", "{", "no readable config"),
        ("config.json", '{"format": 99}', "newer than this"),
        ("config.json", "[" * 100_000, "no readable config"),
        ("status.json", "", "no readable status"),
    ],
)
def test_an_unreadable_run_is_a_row_with_the_reason(name: str, text: str, reason: str, run: Run) -> None:
    (run.path / name).write_text(text)
    row = overview.overview(run)
    assert row.state == "unreadable"
    assert reason in row.problem


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "3",
        '{"metrics": [1], "stages": [2], "count": "x"}',
        '{"metrics": {"accuracy": {"values": {"after": {"unlearn/val": "x"}}}}}',
    ],
)
def test_strange_values_are_no_scores(text: str, run: Run) -> None:
    for name in ("metrics", "manifest", "region", "imported", "label"):
        (run.path / f"{name}.json").write_text(text)
    row = overview.overview(run)
    assert row.state == "done"
    assert (row.success, row.knew, row.seconds, row.peak_memory) == ({}, {}, None, None)


def test_only_differing_settings_are_listed() -> None:
    one = RunConfig(seed=1)
    other = RunConfig(seed=2).with_setting("unlearn.method", "gradient-ascent").with_setting("data.subjects", "a,b")
    differences = run_config.differences([one.to_json(), other.to_json(), one.to_json()])
    assert differences["seed"] == [1, 2, 1]
    assert differences["unlearn.method.name"] == ["memflex", "gradient-ascent", "memflex"]
    assert differences["data.subjects"] == [[], ["a", "b"], []]
    assert "teach.rank" not in differences
    assert run_config.differences([one.to_json(), one.to_json()]) == {}
    assert json.dumps(differences)
