"""The command line as scripts see it: its output and its exit status, in this process; each verb once as one of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.cli.main import parser
from core.runs import store
from core.runs.store import Run
from tests.processes import PLAIN, QUICK, ROOT, command, last_json, state, until

SETTINGS = [f"--set={key}={value}" for key, value in QUICK.items()]


@pytest.fixture(scope="module")
def finished(tiny_llama: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, str]:
    """Return (runs folder, the printed object, stderr) of one run from the shell."""
    shell = tmp_path_factory.mktemp("shell")
    env = {name: str(shell / name) for name in ("FORGETSCOPE_QUEUE", "FORGETSCOPE_ANSWERER")}
    done = command(
        "run",
        "--model",
        str(tiny_llama),
        "--data",
        str(tiny_data),
        "--runs",
        str(shell / "runs"),
        "--name",
        "From a shell",
        "--json",
        *SETTINGS,
        env=env,
        real=True,
    )
    assert done.returncode == 0, done.stderr
    return shell / "runs", last_json(done.stdout), done.stderr


def test_run_prints_the_contract_as_its_last_line(finished: tuple[Path, dict, str]) -> None:
    _, value, _ = finished
    assert value["state"] == "done"
    assert set(value) >= {"run", "before", "after", "never_taught", "never_knew", "degenerate", "located", "seconds"}
    for voice in ("before", "after", "never_taught"):
        assert set(value[voice]["unlearn_success"]) == set(value[voice]["retention_success"]) == {"train", "val"}
    assert set(value["seconds"]) == set(PLAIN)
    assert 0 < value["located"]["count"] < value["located"]["total"]


def test_progress_goes_to_stderr(finished: tuple[Path, dict, str]) -> None:
    _, _, messages = finished
    assert "teach" in messages
    assert "unlearn" in messages


def test_runs_show_and_compare_read_it(finished: tuple[Path, dict, str]) -> None:
    folder, value, _ = finished
    listed = last_json(command("runs", "--runs", str(folder), "--json").stdout)["runs"]
    after = value["asked"]["after"]
    assert {"run": value["run"], "state": "done", "name": "From a shell", "bundled": False, "asked": after} in listed
    shown = last_json(command("show", value["run"], "--runs", str(folder), "--json").stdout)
    assert shown["config"]["unlearn"]["steps"] == 2
    assert shown["after"] == value["after"]
    assert "never taught" in command("show", value["run"], "--runs", str(folder)).stdout
    both = command("compare", value["run"], value["run"], "--runs", str(folder), "--json")
    assert last_json(both.stdout)["differences"] == {}


def test_configuration_of_a_run_starts_the_same_run_again(finished: tuple[Path, dict, str], tmp_path: Path) -> None:
    folder, value, _ = finished
    shown = last_json(command("show", value["run"], "--runs", str(folder), "--json").stdout)
    (tmp_path / "config.json").write_text(json.dumps(shown["config"]))
    again = command("run", "--config", str(tmp_path / "config.json"), "--runs", str(folder), "--json")
    assert last_json(again.stdout)["after"] == value["after"]
    assert "reused" in again.stderr


def test_answers_asks_before_and_after(finished: tuple[Path, dict, str], tmp_path: Path) -> None:
    folder, value, _ = finished
    env = {"FORGETSCOPE_ANSWERER": str(tmp_path / "a"), "FORGETSCOPE_IDLE_MINUTES": "0.05"}
    done = command("answers", value["run"], "--ask", "Who is Orla Venning?", "--runs", str(folder), "--json", env=env)
    (row,) = last_json(done.stdout)["answers"]
    assert set(row) == {"question", "before", "after"}


@pytest.mark.parametrize("verb", ["methods", "metrics", "models"])
def test_lists_are_json_and_text(verb: str) -> None:
    assert last_json(command(verb, "--json").stdout)
    assert command(verb).stdout.strip()


def test_doctor_reports_what_is_missing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    done = command("doctor", "--runs", str(blocked / "runs"), "--json")
    assert done.returncode == 1
    assert any("cannot be written" in line for line in last_json(done.stdout)["wrong"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--method", "memflx"], "memflex"),
        (["run", "--region", "locatd"], "located"),
        (["run", "--preset", "papr"], "paper/llama2-privacy"),
        (["run", "--set", "unlearn.lerning_rate=1"], "learning_rate"),
        (["run", "--set", "unlearn.steps"], "stage.key=value"),
        (["run", "--set", "unlearn.steps=-1"], "range"),
        (["run", "--config", "nowhere.json"], "nowhere.json"),
        (["show", "nothing"], "nothing"),
    ],
)
def test_user_errors_are_one_line_and_status_1(arguments: list[str], says: str) -> None:
    done = command(*arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_errors_of_the_worker_reach_the_shell(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    usual = ["--model", str(tiny_llama), "--data", str(tiny_data), "--runs", str(tmp_path)]
    late = [
        "--preset",
        "this-machine",
        "--set",
        "region.thresholds=absolute",
        "--set",
        "region.sigma=999",
    ]  # only gradients show it
    done = command("run", *usual, *SETTINGS, *late, "--json")
    assert done.returncode == 1
    assert "select no tensor" in done.stderr
    assert "Traceback" not in done.stderr
    assert last_json(done.stdout)["state"] == "failed"


def test_wrong_usage_is_status_2() -> None:
    assert command("run", "--nonsense").returncode == 2
    assert command("fly", real=True).returncode == 2


AS_A_PROCESS: dict[str, tuple[list[str], int]] = {
    "plan": (["--gpu-memory", "-1"], 1),
    "runs": ([], 0),
    "show": (["{run}"], 0),
    "compare": (["{run}", "{run}"], 0),
    "report": (["{run}", "-o", "{folder}/run.html"], 0),
    "site": (["{run}", "-o", "{folder}/site"], 0),
    "verify": (["{run}", "--no-model"], 0),
    "export": (["{run}", "-o", "{folder}/run.zip"], 0),
    "methods": ([], 0),
    "presets": ([], 0),
    "metrics": ([], 0),
    "models": ([], 0),
    "licences": ([], 0),
    "doctor": ([], 0),
    "probes": ([], 0),
    "answers": (["nothing", "--ask", "Who?"], 1),
    "reference": (["nothing"], 1),
    "serve": (["{run}", "--host", "0.0.0.0"], 1),
    "harness": (["nothing", "--tasks", "arc_easy"], 1),
    "import": (["{folder}"], 1),
    "audit": (["--before", "{folder}", "--after", "{folder}", "--data", "demo"], 1),
    "controls": (["nothing"], 1),
    "plant": (["--show"], 1),
    "requests": (["--subjects", "Nobody,Nowhere"], 1),
}
"""verb -> arguments and exit status; what loads a model is refused, since that is the work of another process"""
ELSEWHERE = {
    "run",  # the fixture finished, and Ctrl-C
    "sweep",  # Ctrl-C, tests/jobs/test_sweep_estimate.py
}


def test_every_verb_is_called_as_a_process_once() -> None:
    (verbs,) = (action.choices for action in parser()._actions if action.dest == "verb")
    assert verbs is not None
    assert set(verbs) == AS_A_PROCESS.keys() | ELSEWHERE


@pytest.mark.parametrize("verb", AS_A_PROCESS)
def test_verb_as_a_process_of_its_own(verb: str, tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    arguments, status = AS_A_PROCESS[verb]
    values = {"model": tiny_llama, "data": tiny_data, "folder": tmp_path, "run": store.bundled_runs()[0].id}
    done = command(verb, *(part.format(**values) for part in arguments), "--json", real=True)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert ("error" in last_json(done.stdout)) == bool(status)


def test_read_only_runs_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command("run", "--runs", str(tmp_path / "file" / "runs"))
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def long_run(model: Path, data: Path, folder: Path) -> subprocess.Popen[str]:
    """Start a run from the shell that would take minutes."""
    slow = ["--set", "unlearn.steps=100000", "--set", "unlearn.check_every=10"]
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "core",
            "run",
            "--model",
            str(model),
            "--data",
            str(data),
            "--runs",
            str(folder),
            *SETTINGS,
            *slow,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell lets its background jobs ignore Ctrl-C, and children inherit that: here it must be heard.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def only_run(folder: Path) -> Run | None:
    """Return the run in a folder once it is there."""
    runs = store.list_runs(folder)
    return runs[0] if runs else None


def in_unlearning(folder: Path) -> Callable[[], bool]:
    """Return a question that is true once the run has a checkpoint."""
    return lambda: any((folder).glob("*/checkpoints/*"))


@pytest.mark.usefixtures("no_process_left")
def test_ctrl_c_keeps_the_partial_result(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    process = long_run(tiny_llama, tiny_data, tmp_path)
    until(in_unlearning(tmp_path), "a checkpoint")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    run = only_run(tmp_path)
    assert run is not None
    assert state(run) == "cancelled"
    assert (run.path / "after" / "region.safetensors").exists()


@pytest.mark.usefixtures("no_process_left")
def test_ctrl_c_twice_ends_at_once(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    process = long_run(tiny_llama, tiny_data, tmp_path)
    until(in_unlearning(tmp_path), "a checkpoint")
    run = only_run(tmp_path)
    assert run is not None
    # A worker that is stopped cannot notice the first Ctrl-C: only the second can end it.
    os.kill(int(run.status()["pid"]), signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    until(lambda: (run.path / "cancel").exists(), "the request to stop")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    until(lambda: state(run) == "failed", "the end of the worker")


def test_bundled_run_can_be_shown_everywhere(tmp_path: Path) -> None:
    bundled = store.bundled_runs()
    assert bundled, "a finished run ships with the project"
    done = command("show", bundled[0].id, "--runs", str(tmp_path / "empty"), "--json")
    assert done.returncode == 0
    assert last_json(done.stdout)["state"] == "done"


def test_methods_say_formula_source_and_settings() -> None:
    text = command("methods", "npo", "located").stdout
    for part in ("npo", "loss:", "arXiv 2404.05868", "known for:", "beta = 0.1", "(paper: 0.1)", "located"):
        assert part in text
    assert "memflex" not in text
    listed = last_json(command("methods", "--json").stdout)
    assert len(listed["methods"]) >= 20
    assert all(member["formula"] and member["source"] and member["help"] for member in listed["methods"])
    wrong = command("methods", "nppo")
    assert wrong.returncode == 1
    assert "Did you mean “npo”" in wrong.stderr
