"""Sweeps: members, states, one worker for many runs, and that nothing leaks from one run to the next."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.cli import grid
from core.cli.grid import Axes
from core.config.run_config import RunConfig
from core.jobs import lifecycle, worker
from core.jobs import sweep as sweep_
from core.jobs.sweep import Member, Sweep
from core.jobs.sweep_scores import SCORES, intervals, over_seeds, overhead, rows
from core.metrics.intervals import t_interval
from core.pipeline.pipeline import execute
from core.pipeline.setup import set_up
from core.runs import store
from core.runs.liveness import GONE
from core.runs.scores import Scores
from core.runs.store import Run
from core.util import files as files_
from core.util.errors import UserError
from tests.naive import Recorder
from tests.pipeline.test_pipeline import small
from tests.processes import quick, state, until


def made(configs: list[tuple[RunConfig, dict[str, Any]]], folder: Path) -> Sweep:
    return sweep_.create("grid", "test", {}, [Member(config, at) for config, at in configs], folder)


def alone(config: RunConfig, folder: Path) -> Run:
    run = store.create(config, folder)
    execute(set_up(run, config, folder, Recorder()))
    return run


def same_result(one: Run, two: Run) -> bool:
    """Say whether two runs ended with the same adapters, token scores, answers and metrics, to the bit."""
    adapters = [run.json("manifest.json")["adapters"] for run in (one, two)]
    files = ("tokens.parquet", "answers.jsonl", "metrics.json", "localization.parquet", "after/region.safetensors")
    return adapters[0] == adapters[1] and all((one.path / f).read_bytes() == (two.path / f).read_bytes() for f in files)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mixtral"])
def test_runs_of_a_sweep_are_those_that_would_run_alone(
    tiny_of: Callable[[str], Path], tiny_data: Path, tmp_path: Path, architecture: str
) -> None:
    # Another seed teaches another adapter, and the first seed comes back after it: the model changes hands twice.
    base = small(tiny_of(architecture), tiny_data)
    configs = [
        base,
        base.with_setting("unlearn.method", "gradient-ascent"),
        base.with_setting("seed", 1),
        base.with_setting("unlearn.steps", 2),
    ]
    sweep = made([(config, {"number": i}) for i, config in enumerate(configs)], tmp_path / "sweep")
    assert worker.work("sweep", sweep.as_run) == 0
    assert [state(run) for run in sweep_.members(sweep)] == ["done"] * 4
    pairs = list(zip(sweep_.members(sweep), configs, strict=True))
    for number, (run, config) in enumerate(pairs if architecture == "llama" else pairs[-1:]):  # the last one has seen all
        assert same_result(run, alone(config, tmp_path / f"alone{number}")), number
    taught = [run.json("manifest.json")["stages"]["teach"]["reused"] for run in sweep_.members(sweep)]
    assert taught == [False, True, False, True]


def test_model_is_loaded_once_and_a_failing_run_stops_no_other(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.models import loading

    loaded: list[str] = []
    load = loading.load
    monkeypatch.setattr(loading, "load", lambda config, room: loaded.append(config.name) or load(config, room))
    base = small(tiny_llama, tiny_data)
    nothing = base.with_setting("region.thresholds", "absolute").with_setting("region.sigma", 999.0)
    bad = [nothing, base.with_setting("unlearn.learning_rate", 1.0)]
    sweep = made(
        [(c, {"number": i}) for i, c in enumerate([base, base.with_setting("unlearn.steps", 2), *bad, base])], tmp_path
    )
    broken, skipped = sweep_.members(sweep)[2], sweep_.members(sweep)[3]
    skipped.cancel()
    assert worker.work("sweep", sweep.as_run) == 0
    assert [state(run) for run in sweep_.members(sweep)] == ["done", "done", "failed", "cancelled", "done"]
    assert "select no tensor" in broken.status()["error"]
    assert len(loaded) == 2  # once, and once more after what broke off
    listed = rows(sweep)
    assert [bool(row["error"]) for row in listed] == [False, False, True, True, False]
    assert listed[0]["average"]["val"] == (listed[0]["unlearn"]["val"] + listed[0]["retention"]["val"]) / 2
    assert sweep_.state(sweep)["counts"] == {"done": 3, "failed": 1, "cancelled": 1}


def test_killed_sweep_goes_on_with_what_is_not_done(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    base = quick(tiny_llama, tiny_data)
    configs = [base, base.with_setting("unlearn.steps", 40), base.with_setting("unlearn.steps", 3)]
    sweep = made([(config, {"number": i}) for i, config in enumerate(configs)], tmp_path)
    first, second, third = sweep_.members(sweep)
    lifecycle.start("sweep", sweep.as_run)
    until(lambda: any((second.path / "checkpoints").glob("*")), "a checkpoint of the second run", 300)
    os.kill(int(sweep.as_run.status()["pid"]), signal.SIGKILL)
    until(lambda: (lifecycle.reap(), sweep_.state(sweep)["state"] == "failed")[1], "the sweep shown as failed")
    assert [state(run) for run in (first, second, third)] == ["done", "failed", "failed"]
    before = (first.path / "manifest.json").stat().st_mtime_ns
    sweep_.reopen(sweep)
    lifecycle.start("sweep", sweep.as_run)
    until(lambda: (lifecycle.reap(), sweep_.state(sweep)["state"] == "done")[1], "the end of the sweep", 300)
    assert [state(run) for run in (first, second, third)] == ["done"] * 3
    assert (first.path / "manifest.json").stat().st_mtime_ns == before
    assert same_result(second, alone(configs[1], tmp_path / "alone"))
    # What broke the worker once may do it again: the others were finished before it.
    assert third.status()["began"] < second.status()["began"]


def test_what_was_cancelled_while_it_was_measured_stays_so(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    """Between making a sweep and starting its worker minutes may pass; only what waits is refreshed then."""
    base = quick(tiny_llama, tiny_data)
    sweep = made([(base.with_setting("seed", seed), {"number": seed}) for seed in range(3)], tmp_path)
    first, second, third = sweep_.members(sweep)
    files_.write_json(
        first.path / "status.json", store.fresh_status() | {"sweep": sweep.id, "died": 1, "created": 5.0, "heartbeat": 5.0}
    )
    second.cancel()
    sweep_.refresh(sweep)
    assert first.status()["died"] == 1
    assert first.status()["state"] == "queued"
    assert (second.path / "cancel").exists()
    sweep_.cancel(sweep)
    sweep_.refresh(sweep)
    assert worker.work("sweep", sweep.as_run) != 0
    assert [state(run) for run in (first, second, third)] == ["cancelled"] * 3


def test_a_run_at_which_the_worker_died_is_remembered_until_it_is_done(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path
) -> None:
    sweep = made([(quick(tiny_llama, tiny_data), {"number": 0})], tmp_path)
    (run,) = sweep_.members(sweep)
    gone = {"state": "failed", "error": f"{GONE} of it.", "began": 1.0}
    files_.write_json(run.path / "status.json", store.fresh_status() | {"sweep": sweep.id} | gone)
    files_.write_json(sweep.path / "status.json", store.fresh_status() | {"state": "failed"})
    sweep_.reopen(sweep)
    assert run.status()["died"] == 1
    files_.write_json(run.path / "status.json", run.status() | {"state": "cancelled"})
    files_.write_json(sweep.path / "status.json", store.fresh_status() | {"state": "cancelled"})
    sweep_.reopen(sweep)  # it was not begun again, so nothing speaks for it either
    assert run.status()["died"] == 1


def test_cancelled_sweep_stops_the_run_at_work_and_begins_no_other(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path
) -> None:
    base = quick(tiny_llama, tiny_data)
    long = base.with_setting("unlearn.steps", 100_000).with_setting("unlearn.check_every", 5)
    sweep = made([(long, {"number": 0}), (base, {"number": 1})], tmp_path)
    first, second = sweep_.members(sweep)
    lifecycle.start("sweep", sweep.as_run)
    until(lambda: any((first.path / "checkpoints").glob("*")), "a checkpoint", 300)
    assert state(second) == "queued"
    with pytest.raises(UserError, match="running"):
        sweep_.reopen(sweep)
    sweep_.cancel(sweep)
    until(lambda: (lifecycle.reap(), sweep_.state(sweep)["state"] == "cancelled")[1], "cancelling", 120)
    assert [state(first), state(second)] == ["cancelled", "cancelled"]
    assert (first.path / "after" / "region.safetensors").exists()
    assert not (second.path / "before").exists()


# -- what is asked for


def test_lists_multiply_and_shared_stages_come_together() -> None:
    axes = Axes(["memflex", "gradient-ascent"], ["located", "all"], [0, 1], [], {"unlearn.steps": ["5", "9"]})
    runs = grid.expand(RunConfig(), axes)
    assert len(runs) == 16
    assert [config.seed for config, _ in runs] == [0] * 8 + [1] * 8
    assert runs[0][1] == {"method": "memflex", "region": "located", "seed": 0, "unlearn.steps": 5.0}
    assert len({config.to_json()["unlearn"]["steps"] for config, _ in runs}) == 2


def test_setting_that_only_some_regions_have_multiplies_only_those() -> None:
    axes = Axes([], ["located", "all"], [], [], {"region.mu": ["0.4", "0.5"]})
    runs = grid.expand(RunConfig(), axes)
    assert [at for _, at in runs] == [
        {"method": "memflex", "region": "located", "seed": 0, "region.mu": 0.4},
        {"method": "memflex", "region": "located", "seed": 0, "region.mu": 0.5},
        {"method": "memflex", "region": "all", "seed": 0},
    ]


@pytest.mark.parametrize(
    ("axes", "nearest"),
    [
        (Axes(methods=["memflx"]), "memflex"),
        (Axes(regions=["locatd"]), "located"),
        (Axes(settings={"region.mi": ["1"]}), "mu"),
        (Axes(settings={"unlearn.forget_wieght": ["1"]}), "forget_weight"),
        (Axes(settings={"teach.epoch": ["1"]}), "epochs"),
    ],
)
def test_unknown_names_give_the_nearest(axes: Axes, nearest: str) -> None:
    with pytest.raises(UserError, match=f"“{nearest}”"):
        grid.expand(RunConfig(), axes)


def test_commas_of_lists_and_rules_are_understood() -> None:
    assert grid.regions("located, layers:4-9,modules:q_proj,v_proj,all") == [
        "located",
        "layers:4-9",
        "modules:q_proj,v_proj",
        "all",
    ]
    lists = grid.settings(["region.mu=.1", "data.subjects=A,B;C", "region.mu=.4,.5"], RunConfig())
    assert lists == {"region.mu": [".4", ".5"], "data.subjects": ["A,B", "C"]}
    with pytest.raises(UserError, match="seeds"):
        grid.seeds("0,x")


def test_interval_over_seeds_is_students() -> None:
    # By hand: values 80, 84, 88: mean 84, s = 4, t(2) = 4.3027, half-width 4.3027 · 4 / √3.
    mean, half = t_interval([80.0, 84.0, 88.0])
    assert (mean, half) == (84.0, pytest.approx(9.937, abs=2e-3))
    assert t_interval([5.0]) == (5.0, None)
    made_up = [
        {
            "coordinates": {"method": m, "seed": s},
            "role": "run",
            "state": st,
            "run": f"{m}{s}",
            "intervals": {},
            "n": {},
            **{name: {"val": v} if st == "done" else {} for name in SCORES},
        }
        for m, s, v, st in (("a", 0, 80.0, "done"), ("a", 1, 84.0, "done"), ("b", 0, 1.0, "done"), ("b", 1, 9.0, "failed"))
    ]
    a, b = over_seeds(made_up)
    assert (a["count"], a["average"]["val"][0]) == (2, 82.0)
    assert (b["count"], b["failed"], b["average"]["val"]) == (1, 1, (1.0, None))


def test_intervals_over_examples_carry_the_names_of_scores() -> None:
    accuracy = {"unlearn/val": [40.0, 60.0], "retention/val": [80.0, 90.0]}
    metrics = {
        "accuracy": {"values": {"after": dict.fromkeys(accuracy, 50.0)}, "intervals": {"after": accuracy}},
        "never_knew": {"values": {"after": {"val": 72.0}}, "intervals": {"after": {"val": [70.0, 75.0]}}},
        "degenerate": {"values": {}},
    }
    expected = {"unlearn": {"val": [40.0, 60.0]}, "retention": {"val": [80.0, 90.0]}, "never_knew": {"val": [70.0, 75.0]}}
    assert intervals(Scores(metrics)) == expected
    assert intervals(Scores({})) == {}


def test_overhead_is_what_is_neither_work_nor_shared(tmp_path: Path) -> None:
    sweep = made([(RunConfig(), {"number": 0}), (RunConfig(), {"number": 1})], tmp_path)
    assert overhead(sweep) is None
    stages = {"teach": 30.0, "preflight": 0.1, "unlearn": 40.0, "answers": 8.0, "evaluate": 2.0}
    for number, run in enumerate(sweep_.members(sweep)):
        done = {
            name: {"seconds": s, "state": "reused" if number and name == "teach" else "done"} for name, s in stages.items()
        }
        files_.write_json(run.path / "status.json", run.status() | {"began": 10.0 + number, "stages": done})
    files_.write_json(sweep.path / "status.json", sweep.as_run.status() | {"began": 5.0, "ended": 145.2})
    seconds = overhead(sweep)
    assert seconds is not None
    assert (seconds["wall"], seconds["work"], seconds["shared"]) == pytest.approx((140.2, 100.0, 30.2))
    assert seconds["percent"] == pytest.approx(10.0)


def test_sweeps_are_found_and_listed(tmp_path: Path) -> None:
    sweep = made([(RunConfig(), {"number": 0})], tmp_path)
    (sweep_.home(tmp_path) / "damaged").mkdir()
    (sweep_.home(tmp_path) / "damaged" / "sweep.json").write_text("{")
    assert sweep_.list_sweeps(tmp_path) == [sweep]
    assert sweep_.find(sweep.id[:-2], tmp_path) == sweep
    with pytest.raises(UserError, match="Did you mean"):
        sweep_.find(sweep.id[:-1] + "?", tmp_path)
    with pytest.raises(UserError, match="one device"):
        made([(RunConfig(), {}), (RunConfig().with_setting("model.device", "cpu"), {})], tmp_path)
    with pytest.raises(UserError, match="no run"):
        made([], tmp_path)
