"""The measured estimate as a real process: figures, re-use, refusal, waiting, cancelling."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core import jobs, plan, store
from core.store import Run
from core.timing import TIMED
from tests.processes import ROOT, last_json, quick, state, until

STAGES = ["load", "teach", "preflight", "localize", "unlearn", "answers", "evaluate"]


@pytest.fixture(autouse=True)
def no_process_left(tmp_path: Path) -> object:
    yield
    for run in [*store.list_runs(tmp_path), *(Run(p) for p in (tmp_path / ".plans").glob("*"))]:
        jobs.kill(run)
    jobs.reap()
    jobs.reap()


def ended(of: Run) -> str:
    until(lambda: (jobs.reap(), state(of) in store.ENDED)[1], "the end", 90)
    return state(of)


def in_shell(config: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "core.plan", str(config), *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False
    )


def test_every_stage_gets_a_range_that_adds_up(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    quick(tiny_llama, tiny_data).save(tmp_path / "config.json")
    done = in_shell(tmp_path / "config.json", "--json", "--runs", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = last_json(done.stdout)
    assert [cost["name"] for cost in found["stages"]] == STAGES
    assert all(0 <= cost["low"] <= cost["high"] and cost["how"] for cost in found["stages"])
    assert found["total"]["high"] == pytest.approx(sum(cost["high"] for cost in found["stages"]))
    assert 0 <= found["knows"]["unlearn"] <= 100
    assert found["knows"]["examples"] == 18
    assert 0 < found["region"]["count"] < found["region"]["total"]
    assert len(found["steps"]["unlearn"]) == TIMED


def test_extras_are_part_of_the_estimate(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    from core.estimate import Estimate
    from tests.naive import Recorder

    costs = {}
    for extras in (False, True):
        config, folder = quick(tiny_llama, tiny_data, evaluate__extras=extras), tmp_path / str(extras)
        found = Estimate(store.create(config, folder), config, folder, Recorder(), time.time()).measure()
        costs[extras] = {cost["name"]: cost for cost in found["stages"]}
    for name in ("preflight", "evaluate"):
        assert "passages" in costs[True][name]["how"]
        assert "passages" not in costs[False][name]["how"]
        # 480 options and some hundred answers against 18 short ones: even a disturbed clock sees the difference.
        assert costs[True][name]["high"] > 1.5 * costs[False][name]["high"]


def test_what_a_run_has_computed_costs_nothing(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = quick(tiny_llama, tiny_data)
    assert ended(jobs.submit(config, tmp_path)) == "done"
    made = plan.place(config, tmp_path)
    plan.start(made, config)
    assert ended(made) == "done"
    costs = {cost["name"]: cost for cost in plan.result(made)["stages"]}
    assert costs["teach"]["reused"]
    assert costs["localize"]["reused"]
    assert costs["teach"]["high"] == 0
    assert not (made.path / "before").exists()
    assert made.id not in {run.id for run in store.list_runs(tmp_path)}


def test_a_model_that_does_not_fit_is_refused_with_the_numbers(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    quick(tiny_llama, tiny_data, model__device="cpu").save(tmp_path / "config.json")
    done = in_shell(tmp_path / "config.json", FORGETSCOPE_MEMORY_LIMIT="100000000")
    assert done.returncode == 1
    assert "needs about 0.6 GB" in done.stderr
    assert "0.1 GB are free" in done.stderr


def test_it_waits_for_a_run_and_can_be_cancelled_meanwhile(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    run = jobs.submit(quick(tiny_llama, tiny_data, unlearn__steps=100_000, unlearn__check_every=5), tmp_path)
    until(lambda: any((run.path / "checkpoints").glob("*")), "a checkpoint", 90)
    config = quick(tiny_llama, tiny_data, seed=1)
    made = plan.place(config, tmp_path)
    plan.start(made, config)
    until(lambda: made.status().get("position") == 2, "waiting in second place")
    assert state(made) == "queued"
    assert state(run) == "running"
    made.cancel()
    assert ended(made) == "cancelled"
    assert state(run) == "running"


def test_a_teachless_plan_says_so(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = quick(tiny_llama, tiny_data, teach__enabled=False, region="all")
    made = plan.place(config, tmp_path)
    plan.start(made, config)
    assert ended(made) == "done", made.status()
    teach = next(cost for cost in plan.result(made)["stages"] if cost["name"] == "teach")
    assert (teach["high"], teach["how"]) == (0, "nothing is taught")


def test_the_place_depends_on_what_is_computed_only(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = quick(tiny_llama, tiny_data)
    same = plan.place(config, tmp_path)
    assert plan.place(config.with_setting("name", "other"), tmp_path) == same
    assert plan.place(config.with_setting("seed", 5), tmp_path) != same
    assert plan.place(config, tmp_path, "other data") != same


def test_a_plan_of_another_format_is_none(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({"format": 99}))
    assert plan.result(Run(tmp_path)) is None
    assert plan.result(Run(tmp_path / "gone")) is None
