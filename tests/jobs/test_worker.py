"""The worker as a real process: states, kills, resuming, and one at a time on a device."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from core.jobs import lifecycle
from core.runs import store
from core.runs.store import Run
from core.util.errors import UserError
from tests.processes import PLAIN, ROOT, command, ended, last_json, quick, state, until

pytestmark = pytest.mark.usefixtures("no_process_left")


def slow(model: Path, data: Path, folder: Path) -> Run:
    """Start a run that would take minutes, and return it once it has a checkpoint."""
    run = lifecycle.submit(quick(model, data, unlearn__steps=100_000, unlearn__check_every=5), folder)
    until(lambda: any((run.path / "checkpoints").glob("*")), "a checkpoint", 90)
    return run


def test_run_reports_states_stages_and_progress(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    run = lifecycle.submit(quick(tiny_llama, tiny_data), tmp_path)
    assert state(run) in store.ALIVE
    events = list(lifecycle.follow(run))
    assert state(run) == "done"
    stages = [event["name"] for event in events if event["kind"] == "stage" and event["state"] == "running"]
    assert tuple(stages) == PLAIN
    unlearning = [event for event in events if event["kind"] == "progress" and event["stage"] == "unlearn"]
    assert unlearning[-1]["done"] == unlearning[-1]["total"] == 2
    assert {"rate", "left", "forget_loss", "retain_loss"} <= set(unlearning[-1])
    assert events[-1]["kind"] == "end"
    for stage in ("teach", "localize", "unlearn"):
        for values in (
            [event for event in events if event["kind"] == "progress" and event["stage"] == stage][-1],
            run.status()["stages"][stage],
        ):
            assert values["tokens_per_second"] > 0, stage
            assert 50 < values["peak_memory_mb"] < 100_000, stage


def test_cancel_stops_within_a_step_and_keeps_the_result(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    run = slow(tiny_llama, tiny_data, tmp_path)
    run.cancel()
    until(lambda: state(run) == "cancelled", "cancelling", 10)
    assert (run.path / "after" / "region.safetensors").exists()


def test_killed_worker_is_failed_and_resumes_to_the_same_bits(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = quick(tiny_llama, tiny_data, unlearn__steps=40, unlearn__check_every=1)
    undisturbed = lifecycle.submit(config, tmp_path / "other")
    assert ended(undisturbed) == "done"
    run = lifecycle.submit(config, tmp_path)
    until(lambda: any((run.path / "checkpoints").glob("*")), "a checkpoint", 90)
    os.kill(int(run.status()["pid"]), signal.SIGKILL)
    until(lambda: (lifecycle.reap(), state(run) == "failed")[1], "the run shown as failed")
    assert "unlearn" in run.status()["error"]
    done = command("run", "--resume", run.id, "--runs", str(tmp_path), "--json")
    assert last_json(done.stdout)["state"] == "done", done.stderr
    reused = {name for name, stage in run.json("manifest.json")["stages"].items() if stage["reused"]}
    assert {"teach", "preflight", "localize"} <= reused
    assert run.json("manifest.json")["adapters"] == undisturbed.json("manifest.json")["adapters"]
    assert (run.path / "tokens.parquet").read_bytes() == (undisturbed.path / "tokens.parquet").read_bytes()


def test_two_workers_on_one_run_are_refused(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    run = slow(tiny_llama, tiny_data, tmp_path)
    with pytest.raises(UserError, match="running"):
        lifecycle.resume(run)
    second = subprocess.run(
        [sys.executable, "-m", "core.jobs", "run", str(run.path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert "Another worker" in second.stderr
    assert state(run) == "running"


def test_runs_wait_in_turn_and_the_queue_goes_on_when_a_waiting_worker_is_killed(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path
) -> None:
    first = slow(tiny_llama, tiny_data, tmp_path)
    second = lifecycle.submit(quick(tiny_llama, tiny_data), tmp_path)
    until(lambda: second.status().get("position") == 2, "second place")
    third = lifecycle.submit(quick(tiny_llama, tiny_data), tmp_path)
    until(lambda: third.status().get("position") == 3, "third place")
    assert [state(run) for run in (second, third)] == ["queued", "queued"]
    os.kill(int(second.status()["pid"]), signal.SIGKILL)
    until(lambda: (lifecycle.reap(), third.status().get("position") == 2)[1], "moving up")
    first.cancel()
    assert ended(third) == "done"


def test_waiting_worker_has_next_to_no_memory_of_its_own_and_can_be_cancelled(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path
) -> None:
    slow(tiny_llama, tiny_data, tmp_path)
    second = lifecycle.submit(quick(tiny_llama, tiny_data), tmp_path)
    until(lambda: second.status().get("position") == 2, "second place")
    # It is forked from a process that has torch in memory, and shares all of that.
    assert psutil.Process(int(second.status()["pid"])).memory_full_info().uss < 100 * 2**20
    second.cancel()
    until(lambda: state(second) == "cancelled", "cancelling")


def test_user_error_and_unexpected_error_become_one_sentence(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    wrong = lifecycle.submit(quick(tiny_llama, tiny_data, region__thresholds="absolute", region__sigma=999.0), tmp_path)
    assert ended(wrong) == "failed"
    assert "select no tensor" in wrong.status()["error"]
    damaged = lifecycle.submit(quick(tiny_llama, tiny_data), tmp_path)
    (damaged.path / "config.json").write_text("{")
    assert ended(damaged) == "failed"


def test_newer_format_is_refused(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    run = store.create(quick(tiny_llama, tiny_data), tmp_path)
    values = run.json("config.json") | {"format": 999}
    (run.path / "config.json").write_text(json.dumps(values))
    lifecycle.start("run", run)
    assert ended(run) == "failed"
    assert "999" in run.status()["error"]


def test_resuming_something_finished_or_bundled_is_safe() -> None:
    with pytest.raises(UserError, match="bundled"):
        lifecycle.resume(store.bundled_runs()[0])
