"""How long a sweep will take, worked out from earlier runs; and the verbs of the command line that start many runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.config.run_config import RunConfig
from core.jobs import sweep as sweep_
from core.jobs import sweep_estimate
from core.jobs.sweep_estimate import SweepEstimate
from core.runs import store
from core.util import files
from core.util.errors import UserError
from core.util.progress import duration
from tests.processes import QUICK, ROOT, command, last_json, state, until

SETTINGS = [f"--set={key}={value}" for key, value in QUICK.items()]


def finished(folder: Path, stages: dict[str, float], reused: tuple[str, ...] = (), steps: int = 40, **changes: Any) -> None:
    """Write what a finished run leaves, with these seconds."""
    config = RunConfig()
    for path, value in changes.items():
        config = config.with_setting(path.replace("__", "."), value)
    run = store.create(config, folder)
    files.write_json(run.path / "status.json", store.fresh_status() | {"state": "done"})
    value = {name: {"seconds": seconds, "reused": name in reused} for name, seconds in stages.items()}
    files.write_json(run.path / "manifest.json", {"stages": value})
    files.write_json(run.path / "unlearn.json", {"steps": steps, "step": steps})


STAGES = {"teach": 100.0, "preflight": 20.0, "localize": 10.0, "unlearn": 80.0, "answers": 15.0, "evaluate": 5.0}


def test_earlier_runs_tell_how_long_a_sweep_takes(tmp_path: Path) -> None:
    base = RunConfig()
    assert sweep_estimate.from_runs([base], tmp_path) is None
    finished(tmp_path, STAGES)
    # Taught already: 30 of 40 steps at 2 s, and 20 s of answers and scores.
    estimate = sweep_estimate.from_runs([base.with_setting("unlearn.steps", 30)], tmp_path)
    assert estimate is not None
    assert estimate.seconds == pytest.approx(30 * 2 + 20)
    # Another seed is taught anew, once for both of its runs.
    seeds = [base.with_setting("seed", 1), base.with_setting("seed", 1).with_setting("unlearn.method", "gradient-ascent")]
    again = sweep_estimate.from_runs([base, *seeds], tmp_path)
    assert again is not None
    assert again.seconds == pytest.approx(130 + 3 * (80 + 20))
    # A time instead of steps.
    tuned = sweep_estimate.from_runs([base] * 4, tmp_path, seconds=60)
    assert tuned is not None
    assert tuned.seconds == pytest.approx(4 * 80)
    assert "one earlier run" in tuned.how
    assert sweep_estimate.from_runs([base.with_setting("model.name", "other")], tmp_path) is None


def test_each_data_has_its_own_pace(tmp_path: Path) -> None:
    finished(tmp_path, STAGES)
    finished(tmp_path, {name: 2 * seconds for name, seconds in STAGES.items()}, data__subset="copyright")
    base = RunConfig()
    estimate = sweep_estimate.from_runs([base, base.with_setting("data.subset", "copyright")], tmp_path)
    assert estimate is not None
    assert estimate.seconds == pytest.approx(100 + 200)
    assert "2 earlier runs" in estimate.how


def test_runs_of_other_lengths_are_scaled_and_what_cannot_be_measured_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = RunConfig()
    costs = [{"name": name, "low": seconds, "high": seconds} for name, seconds in {**STAGES, "load": 0.0}.items()]
    monkeypatch.setattr(sweep_estimate, "steps_of", lambda config, folder, look: {"stages": costs})
    estimate = sweep_estimate.measured(
        [base.with_setting("unlearn.steps", 400), base.with_setting("unlearn.steps", 40)], tmp_path
    )
    assert estimate is not None
    assert estimate.seconds == pytest.approx(130 + 800 + 80 + 2 * 20)

    def broken(config: RunConfig, folder: Path, look: object) -> None:
        raise UserError("There is no subset typo.")

    monkeypatch.setattr(sweep_estimate, "steps_of", broken)
    assert sweep_estimate.measured([base], tmp_path) is None


def test_runs_that_wait_hide_no_earlier_ones_and_other_scores_cost_otherwise(tmp_path: Path) -> None:
    finished(tmp_path, STAGES)
    for number in range(sweep_estimate.LOOKED_AT + 5):
        store.create(RunConfig().with_setting("name", f"waits {number}"), tmp_path)
    assert sweep_estimate.from_runs([RunConfig()], tmp_path) is not None
    assert sweep_estimate.from_runs([RunConfig().with_setting("evaluate.extras", False)], tmp_path) is None


def test_method_that_ran_before_gives_its_own_pace(tmp_path: Path) -> None:
    finished(tmp_path, STAGES)
    finished(tmp_path, STAGES | {"unlearn": 400.0}, reused=("teach",), unlearn__method="npo")
    npo = RunConfig().with_setting("unlearn.method", "npo")
    estimate = sweep_estimate.from_runs([npo], tmp_path)
    assert estimate is not None
    assert estimate.seconds == pytest.approx(400 + 20)
    assert "2 earlier runs" in str(estimate)


def test_times_in_words() -> None:
    assert str(SweepEstimate(60, "so")) == "About 45 s to 75 s (so)."
    assert duration(600) == "10 min"
    assert duration(7200) == "2.0 h"


# -- the command line


@pytest.fixture(scope="module")
def swept(tiny_llama: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    shell = tmp_path_factory.mktemp("shell")
    env = {name: str(shell / name) for name in ("FORGETSCOPE_QUEUE", "FORGETSCOPE_ANSWERER")}
    done = command(
        "sweep",
        "--model",
        str(tiny_llama),
        "--data",
        str(tiny_data),
        "--runs",
        str(shell / "runs"),
        "--json",
        "--method",
        "memflex,gradient-ascent",
        "--region",
        "located",
        *SETTINGS,
        env=env,
        wait=300,
    )
    assert done.returncode == 0, done.stderr
    return shell / "runs", last_json(done.stdout), done.stderr


def test_sweep_prints_estimate_table_and_one_object(swept: tuple[Path, dict[str, Any], str]) -> None:
    folder, value, messages = swept
    assert (value["state"], value["counts"]) == ("done", {"done": 2})
    assert [row["coordinates"]["method"] for row in value["rows"]] == ["memflex", "gradient-ascent"]
    assert [group["count"] for group in value["groups"]] == [1, 1]
    assert "About " in messages
    assert "gradient-ascent, located, seed 0" in messages
    listed = last_json(command("sweep", "--list", "--runs", str(folder), "--json").stdout)["sweeps"]
    assert [(one["sweep"], one["state"]) for one in listed] == [(value["sweep"], "done")]
    assert "memflex" in command("sweep", "--show", value["sweep"], "--runs", str(folder)).stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sweep", "--method", "memflex,npoo"], "npo"),
        (["sweep", "--region", "located,alll"], "all"),
        (["sweep", "--seeds", "a"], "--seeds 0,1,2"),
        (["sweep", "--set", "region.my=1,2"], "mu"),
        (["sweep", "--tune", "--trials", "0"], "at least 1"),
        (["sweep", "--tune", "--objective", "averag"], "average"),
        (["sweep", "--resume", "nothing"], "nothing"),
        (["sweep", "--refit", "2"], "--of SWEEP"),
        (["sweep", "--refit", "-1", "--of", "x"], "at least 1"),
        (["sweep", "--of", "x"], "--refit K"),
        (["controls", "nothing"], "nothing"),
        (["requests", "--subjects", "Nobody,Nowhere"], "Nobody"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = command(*arguments, "--runs", str(tmp_path))
    assert done.returncode == 1
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not sweep_.list_sweeps(tmp_path)


def test_ctrl_c_stops_a_sweep_that_can_be_resumed(
    swept: tuple[Path, dict[str, Any], str], tiny_llama: Path, tiny_data: Path
) -> None:
    folder = swept[0]
    slow = ["--set", "unlearn.steps=100000", "--set", "unlearn.check_every=10"]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "core",
            "sweep",
            "--model",
            str(tiny_llama),
            "--data",
            str(tiny_data),
            "--runs",
            str(folder),
            "--method",
            "memflex",
            "--region",
            "located",
            *SETTINGS,
            *slow,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until(lambda: len(sweep_.list_sweeps(folder)) == 2, "the sweep", 300)
    (run,) = sweep_.members(sweep_.list_sweeps(folder)[0])
    until(lambda: any((run.path / "checkpoints").glob("*")), "a checkpoint", 300)
    process.send_signal(signal.SIGINT)
    assert process.wait(180) == 130
    assert state(run) == "cancelled"
    assert (run.path / "after" / "region.safetensors").exists()
    assert process.stdout is not None
    assert "--resume" in process.stdout.read()
