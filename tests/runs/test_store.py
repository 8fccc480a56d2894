"""Run directories: written in one step, read whatever their state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from core.config.run_config import FORMAT, RunConfig
from core.runs import locks, stage_files, store
from core.runs.store import Run
from core.util import files
from core.util.errors import Cancelled, UserError
from core.util.progress import Reporter


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return store.create(RunConfig(name="First trial!"), tmp_path / "runs")


def test_new_run_is_queued_and_readable(run: Run) -> None:
    assert run.status()["state"] == "queued"
    assert run.config().name == "First trial!"
    assert run.problem() == ""
    assert "first-trial" in run.id


def test_ids_are_unique(tmp_path: Path) -> None:
    assert len({store.create(RunConfig(), tmp_path).id for _ in range(5)}) == 5


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    path, stop = tmp_path / "status.json", threading.Event()
    files.write_json(path, {"values": [0] * 20_000})

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            files.write_json(path, {"values": [number] * 20_000})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(50):
            values = json.loads(path.read_text(encoding="utf-8"))["values"]
            assert len(values) == 20_000
            assert len(set(values)) == 1
    finally:
        stop.set()
        writer.join()


def test_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "status.json"
    files.write_json(path, {"old": 1})

    def full(self: Path, *_: object, **__: object) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        files.write_json(path, {"new": 2})
    monkeypatch.undo()
    assert json.loads(path.read_text(encoding="utf-8")) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="cannot be written"):
            store.create(RunConfig(), tmp_path / "runs")
    finally:
        tmp_path.chmod(0o700)


def test_runs_folder_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be written"):
        store.create(RunConfig(), tmp_path / "runs")


def test_half_written_event_is_left_for_the_next_call(run: Run) -> None:
    path = run.path / "events.jsonl"
    path.write_text('{"kind": "a"}\n{"kind": "b"}\n{"kin', encoding="utf-8")
    assert [e["kind"] for e in run.events()] == ["a", "b"]
    path.write_text('{"kind": "a"}\n{"kind": "b"}\n{"kind": "c"}\n', encoding="utf-8")
    assert [e["kind"] for e in run.events_after(2)[0]] == ["c"]


def test_broken_event_line_hurts_no_other(run: Run) -> None:
    (run.path / "events.jsonl").write_text('{"kind": "a"}\n{bro\n{"kind": "c"}\n', encoding="utf-8")
    assert [e["kind"] for e in run.events()] == ["a", "c"]


def test_place_after_a_broken_line_is_that_of_the_next_one(run: Run) -> None:
    path = run.path / "events.jsonl"
    path.write_bytes(b'{"kind": "a"}\n{bro\n\xff\xfe\n[]\n{"kind": "c"}\n{"kin')
    events, line = run.events_after(0)
    assert ([e["kind"] for e in events], line) == (["a", "c"], 5)
    assert run.events_after(line) == ([], 5)
    path.write_bytes(path.read_bytes() + b'd": "d"}\n{"kind": "e"}\n')
    assert [e["kind"] for e in run.events_after(line)[0]] == ["d", "e"]


def test_events_that_vanish_move_no_place(run: Run) -> None:
    assert run.events_after(7) == ([], 7)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_damaged_files_are_tolerated(run: Run, content: bytes) -> None:
    for name in ("status.json", "events.jsonl", "answers.jsonl", "tokens.parquet", "metrics.json"):
        (run.path / name).write_bytes(content)
    assert run.status()["state"] == "unreadable"
    assert run.events() == run.answers() == []
    assert run.table("tokens") is None
    assert run.json("metrics.json") is None


def test_status_that_is_no_object_is_unreadable(run: Run) -> None:
    (run.path / "status.json").write_text("[]", encoding="utf-8")
    assert run.status()["state"] == "unreadable"


def test_missing_files_are_tolerated(tmp_path: Path) -> None:
    run = Run(tmp_path / "nowhere")
    assert (run.status()["state"], run.events(), run.answers(), run.table("tokens")) == ("unreadable", [], [], None)
    assert run.problem()


def test_table_is_read_back(run: Run) -> None:
    table = pd.DataFrame({"a": [1, 2]})
    table.to_parquet(run.path / "tokens.parquet")
    pd.testing.assert_frame_equal(run.table("tokens"), table)


def test_run_of_a_newer_format_is_listed_with_its_problem(run: Run) -> None:
    other = store.create(RunConfig(), run.path.parent)
    values = {**run.json("config.json"), "format": FORMAT + 1}
    files.write_json(run.path / "config.json", values)
    assert {r.id for r in store.list_runs(run.path.parent)} == {run.id, other.id}
    assert "newer" in run.problem()
    assert other.problem() == ""


def test_runs_are_listed_newest_first_without_the_cache(tmp_path: Path) -> None:
    for name in ("20250101-000000-a", "20260101-000000-b", ".cache"):
        (tmp_path / name).mkdir()
    assert [run.id for run in store.list_runs(tmp_path)] == ["20260101-000000-b", "20250101-000000-a"]
    assert store.list_runs(tmp_path / "nowhere") == []


def test_run_is_found_by_id_beginning_and_path(run: Run) -> None:
    folder = run.path.parent
    assert store.find(run.id, folder) == run
    assert store.find(run.id[:-2], folder) == run
    assert store.find(str(run.path), folder / "elsewhere") == run


def test_ambiguous_or_unknown_run_is_an_error(run: Run) -> None:
    folder = run.path.parent
    store.create(RunConfig(name="First trial!"), folder)
    for name in (run.id[:4], "", "nothing-like-it"):
        with pytest.raises(UserError, match="no run"):
            store.find(name, folder)
    with pytest.raises(UserError, match=f"Did you mean “{run.id}”"):
        store.find(f"{run.id}x", folder)


def write_status(run: Run, **values: object) -> None:
    files.write_json(run.path / "status.json", {**store.fresh_status(), **values})


def test_dead_worker_shows_as_failed_with_its_stage(run: Run) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    write_status(run, state="running", stage="localize", pid=process.pid)
    status = run.status()
    assert status["state"] == "failed"
    assert "localize" in status["error"]


def test_zombie_counts_as_dead(run: Run) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()  # ends with the process, which nobody has waited for yet
    time.sleep(0.1)
    write_status(run, state="running", pid=process.pid)
    try:
        assert run.status()["state"] == "failed"
    finally:
        process.wait()


def test_living_worker_shows_as_running(run: Run) -> None:
    write_status(run, state="running", pid=os.getpid())
    assert run.status()["state"] == "running"


def test_recycled_pid_is_not_the_worker(run: Run) -> None:
    write_status(run, state="running", pid=os.getpid(), started_process=1.0)
    assert run.status()["state"] == "failed"


def test_worker_elsewhere_lives_by_its_heartbeat(run: Run) -> None:
    write_status(run, state="running", pid=1, host="another-machine", heartbeat=time.time())
    assert run.status()["state"] == "running"
    write_status(run, state="running", pid=1, host="another-machine", heartbeat=time.time() - 1000)
    assert run.status()["state"] == "failed"


def test_finished_run_needs_no_worker(run: Run) -> None:
    write_status(run, state="done", pid=1, started_process=1.0)
    assert run.status()["state"] == "done"


def test_stage_is_made_once(run: Run, tmp_path: Path) -> None:
    made = []

    def produce(folder: Path) -> None:
        made.append(folder)
        (folder / "deep").mkdir()
        (folder / "deep" / "value.txt").write_text(str(len(made)), encoding="utf-8")

    other = store.create(RunConfig(), tmp_path / "runs")
    assert stage_files.cached(tmp_path, "teach", "key", run, produce) == ""
    assert stage_files.cached(tmp_path, "teach", "key", other, produce) == "cache"
    assert stage_files.cached(tmp_path, "teach", "other", other, produce) == ""
    assert len(made) == 2
    assert (run.path / "deep" / "value.txt").read_text(encoding="utf-8") == "1"
    assert (other.path / "deep" / "value.txt").read_text(encoding="utf-8") == "2"


def test_interrupted_stage_leaves_nothing_in_the_cache(run: Run, tmp_path: Path) -> None:
    def broken(folder: Path) -> None:
        (folder / "value.txt").write_text("half", encoding="utf-8")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        stage_files.cached(tmp_path, "teach", "key", run, broken)
    assert not (run.path / "value.txt").exists()
    assert stage_files.cached(tmp_path, "teach", "key", run, lambda folder: (folder / "value.txt").touch()) == ""


def test_incomplete_cache_entry_is_made_again(run: Run, tmp_path: Path) -> None:
    stage_folder = tmp_path / ".cache" / "teach" / "key"
    stage_folder.mkdir(parents=True)
    (stage_folder / "value.txt").write_text("half", encoding="utf-8")
    source = stage_files.cached(
        tmp_path, "teach", "key", run, lambda folder: (folder / "value.txt").write_text("w", encoding="utf-8")
    )  # type: ignore[arg-type,return-value]
    assert source == ""
    assert (run.path / "value.txt").read_text(encoding="utf-8") == "w"


def test_run_keeps_its_files_when_the_cache_is_emptied(run: Run, tmp_path: Path) -> None:
    import shutil

    stage_files.cached(tmp_path, "teach", "key", run, lambda folder: (folder / "value.txt").touch())
    shutil.rmtree(tmp_path / ".cache")
    assert (run.path / "value.txt").is_file()


def test_answers_are_told_apart_by_line_feeds_alone(run: Run) -> None:
    rows = [{"before": "one\u2028two\x85three"}, {"before": "four"}]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (run.path / "answers.jsonl").write_text(text, encoding="utf-8")
    assert run.answers() == rows


def test_one_worker_a_run(run: Run) -> None:
    with locks.single_worker(run), pytest.raises(UserError, match="Another worker"), locks.single_worker(run):
        pass
    with locks.single_worker(run):
        pass


def test_a_run_that_is_moved_away_while_its_lock_is_awaited_is_gone_and_stays_gone(run: Run) -> None:
    moved = run.path.with_name("moved")
    with locks.single_worker(run):
        threading.Timer(0.3, run.path.rename, (moved,)).start()
        with pytest.raises(UserError, match="is not here any more"), locks.single_worker(run):
            pass
    assert moved.is_dir()
    assert not run.path.exists()


def test_the_lock_of_a_run_that_was_moved_away_and_let_go_in_that_moment_is_not_held(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import filelock

    def taken_too_late(file: int, *, blocking: bool) -> bool:
        run.path.rename(run.path.with_name("moved"))
        return True

    monkeypatch.setattr(filelock, "lock_descriptor", taken_too_late)
    with pytest.raises(UserError, match="is not here any more"), locks.single_worker(run):
        pytest.fail("the lock was held")
    assert not run.path.exists()


def test_runs_folder_from_argument_environment_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETSCOPE_RUNS", str(tmp_path / "env"))
    assert store.runs_folder(tmp_path / "arg") == tmp_path / "arg"
    assert store.runs_folder() == tmp_path / "env"
    monkeypatch.delenv("FORGETSCOPE_RUNS")
    monkeypatch.chdir(tmp_path)
    assert store.runs_folder() == tmp_path / "runs"


def test_waiting_for_a_stage_that_another_run_makes_can_be_cancelled(tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / ".cache" / "teach").mkdir(parents=True)
    looked: list[bool] = []

    class Stopped(Reporter):
        def check(self) -> None:
            looked.append(True)
            raise Cancelled

    with FileLock(tmp_path / ".cache" / "teach" / "key.lock"), pytest.raises(Cancelled):
        stage_files.cached(tmp_path, "teach", "key", Run(tmp_path / "run"), lambda folder: None, Stopped())
    assert looked == [True]


def test_a_worker_waits_for_the_locks_of_one_that_was_just_killed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    code = (
        f"from filelock import FileLock; FileLock({str(tmp_path / '.worker.lock')!r}).acquire(); print('held', "
        "flush=True); import time; time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout
    assert other.stdout.readline() == "held\n"
    threading.Timer(0.3, other.kill).start()
    with locks.single_worker(run):
        assert other.wait(10) != 0
