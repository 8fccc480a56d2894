"""The measured estimate as a real process: figures, re-use, refusal, waiting, cancelling."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from core.config.run_config import RunConfig
from core.jobs import estimate, lifecycle
from core.methods.grail import GRAIL
from core.pipeline.step_context import Context
from core.plan.timing import TIMED
from core.runs import store
from core.runs.store import Run
from core.util import forkserver
from core.util.forkserver import Command
from core.util.process import environment
from tests.processes import ended, quick, state, until

pytestmark = pytest.mark.usefixtures("no_process_left")

TAKEN = ("before", "teach.json", "localization.parquet", "retrained", "retrained-said.json", "retrained-said.parquet")
STAGES = ["load", "teach", "preflight", "localize", "unlearn", "answers", "evaluate"]


def alone(config: RunConfig, folder: Path, **env: str) -> tuple[int, str]:
    """Do the job of an estimate in a process of its own; return its exit status and what it said."""
    job_folder, log = estimate.job_folder(config, folder), folder / "job.log"
    store.prepare(job_folder, config)
    process = forkserver.start(Command("core.jobs", ("estimate", str(job_folder.path)), log, environment() | env))
    return process.wait(120), log.read_text(encoding="utf-8")


def measured(config: RunConfig, at: Path, folder: Path) -> dict[str, Any]:
    """Return what is foretold of a configuration, for a folder of runs: by stage, and as a whole."""
    from core.pipeline.setup import set_up
    from core.plan.measure import Estimate
    from tests.naive import Recorder

    figures = Estimate(set_up(store.create(config, at), config, folder, Recorder()), time.time()).measure()
    return {**figures, "stages": {cost["name"]: cost for cost in figures["stages"]}}


def test_every_stage_gets_a_range_that_adds_up(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = quick(tiny_llama, tiny_data)
    status, said = alone(config, tmp_path)
    assert status == 0, said
    figures = estimate.result(estimate.job_folder(config, tmp_path))
    assert figures is not None
    assert [cost["name"] for cost in figures["stages"]] == STAGES
    assert all(0 <= cost["low"] <= cost["high"] and cost["how"] for cost in figures["stages"])
    assert figures["total"]["high"] == pytest.approx(sum(cost["high"] for cost in figures["stages"]))
    assert 0 <= figures["knows"]["unlearn"] <= 100
    assert figures["knows"]["examples"] == 18
    assert 0 < figures["region"]["count"] < figures["region"]["total"]
    assert len(figures["steps"]["unlearn"]) == TIMED


def test_extras_are_part_of_the_estimate(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    costs = {}
    for extras in (False, True):
        folder = tmp_path / str(extras)
        costs[extras] = measured(quick(tiny_llama, tiny_data, evaluate__extras=extras), folder, folder)["stages"]
    for name in ("preflight", "evaluate"):
        counted = re.search(r"and (\d+) passages", costs[True][name]["how"])
        assert counted is not None
        # Counts, not seconds: what a disturbed clock says of 18 answers can be anything.
        assert int(counted[1]) > 100
        assert "passages" not in costs[False][name]["how"]


def test_what_is_foretold_follows_the_settings(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(self: GRAIL, context: Context) -> None:
        time.sleep(1)
        rank(self, context)

    rank = GRAIL.prepare
    monkeypatch.setattr(GRAIL, "prepare", slow)
    config = quick(
        tiny_llama,
        tiny_data,
        teach__merge=True,
        teach__batch_size=2,
        data__forget=("Orla Venning",),
        evaluate__splits=("val",),
        unlearn__method="grail",
    )
    stages = measured(config, tmp_path, tmp_path)["stages"]
    assert "; 9 steps a pass" in stages["teach"]["how"], "all 18 questions are taught, though one subject is forgotten"
    assert stages["preflight"]["how"].startswith("24 answers of up to 4 tokens; 24 answers scored")
    assert stages["answers"]["how"].startswith("4 answers of up to"), "one of U and three of R stand in val"
    assert stages["evaluate"]["how"] == "4 answers scored"
    assert stages["unlearn"]["low"] > 0.8, "what the method does before its first step"


def test_a_run_that_goes_on_from_another_teaches_nothing(unlearned_run: Run, tmp_path: Path) -> None:
    config = unlearned_run.config().with_setting("teach.from_run", unlearned_run.id)
    teach = measured(config, tmp_path, unlearned_run.path.parent)["stages"]["teach"]
    assert (teach["high"], teach["how"]) == (0, f"nothing is taught: it goes on from run {unlearned_run.id}")


def test_what_a_run_has_computed_costs_nothing(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = quick(tiny_llama, tiny_data, teach__retrain=True)
    assert ended(lifecycle.submit(config, tmp_path)) == "done"
    made = estimate.job_folder(config, tmp_path)
    estimate.start(made, config)
    assert ended(made) == "done"
    costs = {cost["name"]: cost for cost in estimate.result(made)["stages"]}
    assert costs["teach"]["reused"]
    assert costs["localize"]["reused"]
    assert costs["preflight"]["reused"]
    assert costs["teach"]["high"] == costs["preflight"]["high"] == 0
    assert {path.name for path in made.path.iterdir()} & set(TAKEN) == set(), "what it brought along is gone"
    assert made.id not in {run.id for run in store.list_runs(tmp_path)}


def test_a_second_model_costs_what_is_still_to_do_of_it(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    plain = quick(tiny_llama, tiny_data, teach__batch_size=2, teach__epochs=2)
    config, folder = plain.with_setting("teach.retrain", True), tmp_path / "runs"

    def compared(config: RunConfig) -> tuple[dict[str, Any], dict[str, Any]]:
        stages = measured(config, tmp_path / f"plan-{len(list(tmp_path.iterdir()))}", folder)["stages"]
        return stages["retrain"], stages["reference"]

    def is_to_be_done(retrain: dict[str, Any], reference: dict[str, Any]) -> None:
        assert not retrain["reused"]
        assert "; 5 steps a pass" in retrain["how"], "9 of the 18 questions are to be kept"
        assert 0 < retrain["low"] < retrain["high"]
        assert reference["how"].startswith("18 answers of up to 4 tokens; 18 answers scored")
        assert reference["low"] > 0

    is_to_be_done(*compared(config))
    assert ended(lifecycle.submit(plain, folder)) == "done"
    assert measured(plain, tmp_path / "plain", folder)["stages"].keys() == set(STAGES)
    is_to_be_done(*compared(config))  # where the first model is there and the second is not
    is_to_be_done(*compared(config.with_setting("teach.merge", True)))
    assert ended(lifecycle.submit(config, folder)) == "done"
    for cost in compared(config):
        assert (cost["reused"], cost["high"]) == (True, 0)
    retrain, reference = compared(config.with_setting("answers.max_new_tokens", 3))
    assert (retrain["reused"], reference["reused"]) == (True, False)
    assert reference["how"].startswith("18 answers of up to 3 tokens")


def test_lessons_count_the_texts_that_hold_the_model(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = quick(tiny_llama, tiny_data, teach__keep_weight=1.0, teach__target_accuracy=100.1)
    figures = measured(config, tmp_path, tmp_path)
    teach, steps = figures["stages"]["teach"], figures["steps"]["teach"]
    number = int(re.findall(r"(\d+) steps a pass", teach["how"])[0])
    assert teach["high"] >= number * min(steps), "no pass takes less than its steps"


def test_a_model_that_does_not_fit_is_refused_with_the_numbers(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    status, said = alone(quick(tiny_llama, tiny_data, model__device="cpu"), tmp_path, FORGETSCOPE_MEMORY_LIMIT="100000000")
    assert status == 1
    assert "needs about 0.6 GB" in said
    assert "0.1 GB are free" in said


def test_it_waits_for_a_run_and_can_be_cancelled_meanwhile(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    run = lifecycle.submit(quick(tiny_llama, tiny_data, unlearn__steps=100_000, unlearn__check_every=5), tmp_path)
    until(lambda: any((run.path / "checkpoints").glob("*")), "a checkpoint", 90)
    config = quick(tiny_llama, tiny_data, seed=1)
    made = estimate.job_folder(config, tmp_path)
    estimate.start(made, config)
    until(lambda: made.status().get("position") == 2, "waiting in second place")
    assert state(made) == "queued"
    assert state(run) == "running"
    made.cancel()
    assert ended(made) == "cancelled"
    assert state(run) == "running"


def test_a_teachless_plan_says_so(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = quick(tiny_llama, tiny_data, teach__enabled=False, region="all")
    made = estimate.job_folder(config, tmp_path)
    estimate.start(made, config)
    assert ended(made) == "done", made.status()
    teach = next(cost for cost in estimate.result(made)["stages"] if cost["name"] == "teach")
    assert (teach["high"], teach["how"]) == (0, "nothing is taught")


def test_the_place_depends_on_what_is_computed_only(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = quick(tiny_llama, tiny_data)
    same = estimate.job_folder(config, tmp_path)
    assert estimate.job_folder(config.with_setting("name", "other"), tmp_path) == same
    assert estimate.job_folder(config.with_setting("seed", 5), tmp_path) != same
    assert estimate.job_folder(config, tmp_path, "other data") != same


def test_a_plan_of_another_format_is_none(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({"format": 99}))
    assert estimate.result(Run(tmp_path)) is None
    assert estimate.result(Run(tmp_path / "gone")) is None
