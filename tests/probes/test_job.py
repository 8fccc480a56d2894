"""Probes as a process of their own, from the command line and by cancel; and on the run that ships with the project."""

from __future__ import annotations

import json
import math
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core import probes
from core.jobs import lifecycle, worker
from core.jobs import probes as job
from core.metrics import evaluation, membership
from core.probes import PROBES
from core.probes.examine import examine
from core.runs import layout, locks, store
from core.runs.store import Run
from core.runs.voices import SPOKEN
from core.util import files
from core.util.errors import UserError
from tests.probing import make_run
from tests.processes import command, last_json, state, until


@pytest.fixture
def run(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> Run:
    return make_run(tiny_llama, tiny_data, tmp_path / "runs")


def test_from_the_shell(run: Run) -> None:
    given = ("probes", run.id, "--runs", str(run.path.parent), "--json", "--only", "neighbours,prefix")
    done = command(*given, "--set", "prefix.questions=2", "--set", "prefix.lengths=1")
    assert done.returncode == 0, done.stderr
    value = last_json(done.stdout)
    assert (value["run"], value["state"], set(value["probes"])) == (run.id, "done", {"prefix", "neighbours"})
    assert value["probes"]["prefix"]["settings"] == {"lengths": [1], "questions": 2}
    assert json.loads((run.path / "probes" / "prefix.json").read_text())["n"] == 2
    assert "prefix" in done.stderr
    # Whoever comes later finds how it went, and the run itself is as it was.
    place = layout.job_folder("probes", run)
    assert place.status()["state"] == "done"
    assert {e["name"] for e in place.events() if e["kind"] == "stage"} == {"prefix", "neighbours"}
    assert run.status()["state"] == "done"
    assert store.list_runs(run.path.parent) == [run]


def test_probes_that_train_a_copy(run: Run) -> None:
    work = job.start(
        run,
        ["relearning", "benign"],
        {f"{name}.{key}": 2 for name in ("relearning", "benign") for key in ("steps", "taught", "questions")},
    )
    steps = [event for event in lifecycle.follow(work) if event["kind"] == "progress" and "steps" in str(event["unit"])]
    assert (state(work), list(probes.read(run))) == ("done", ["relearning", "benign"])
    assert {event["stage"] for event in steps} == {"relearning", "benign"}
    assert all((event["left"] is None) == (event["done"] == 0) for event in steps)


def test_without_a_run_it_lists_them() -> None:
    done = command("probes", "--json")
    listed = last_json(done.stdout)["probes"]
    assert [value["name"] for value in listed] == list(PROBES)
    assert all(value["what"].rstrip().endswith((".", "?")) and value["kind"] in ("leak", "use", "look") for value in listed)
    text = command("probes").stdout
    assert "prefix.lengths" in text
    assert "1,2,4,8" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "prefixx"], "prefix"),
        (["--set", "prefix"], "probe.key=value"),
        (["--set", "prefix.lengths=x"], "lengths"),
    ],
)
def test_wrong_use_is_one_sentence(run: Run, arguments: list[str], said: str) -> None:
    done = command("probes", run.id, "--runs", str(run.path.parent), *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not layout.job_folder("probes", run).path.exists()


@pytest.fixture
def at_work(run: Run) -> Iterator[Run]:
    """Return where a worker makes probes that would take an hour; it ends with the test."""
    work = job.start(run, ["neighbours", "sampling"], {"sampling.samples": 1000, "sampling.questions": 0})
    yield work
    lifecycle.kill(work)


def test_it_is_cancelled_while_it_works_and_can_be_made_again(run: Run, at_work: Run) -> None:
    assert layout.under_way("probes", run)
    with pytest.raises(UserError, match="being made already"):
        job.start(run)
    until(lambda: any(e["kind"] == "progress" and e["stage"] == "sampling" for e in at_work.events()), "progress", 240)
    step = next(e for e in at_work.events() if e["kind"] == "progress" and e["stage"] == "sampling")
    assert step["rate"] > 0
    assert step["total"] == 3 * 1000 * 9
    at_work.cancel()
    until(lambda: state(at_work) == "cancelled", "the end", 240)
    assert list(probes.read(run)) == ["neighbours"]
    again = job.start(run, ["prefix"], {"prefix.questions": 1})
    list(lifecycle.follow(again))
    assert state(again) == "done"
    assert list(probes.read(run)) == ["prefix", "neighbours"]


def test_of_two_who_start_at_once_one_is_refused(
    unlearned_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, started, refused = Run(Path(shutil.copytree(unlearned_run.path, tmp_path / "run"))), list[Run](), list[str]()
    monkeypatch.setattr(lifecycle, "start", lambda kind, job_folder: started.append(job_folder))
    prepare, both = store.prepare, threading.Barrier(2)

    def slowly(*given: Any) -> None:
        time.sleep(0.5)
        prepare(*given)

    def start() -> None:
        both.wait(20)
        try:
            job.start(run)
        except UserError as error:
            refused.append(error.what)

    monkeypatch.setattr(store, "prepare", slowly)
    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(started) == 1
    assert "being made already" in refused[0]


def test_a_second_worker_leaves_the_first_ones_status_alone(unlearned_run: Run, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(unlearned_run.path, tmp_path / "run")))
    for job_folder, work in (
        (layout.job_folder("probes", run), lambda: worker.work("probes", layout.job_folder("probes", run))),
        (layout.job_folder("reference", run), lambda: worker.work("reference", layout.job_folder("reference", run))),
    ):
        store.prepare(job_folder, run.config())
        files.write_json(job_folder.path / lifecycle.WANTED, {"run": str(run.path), "probes": [], "settings": {}})
        files.write_json(job_folder.path / "status.json", store.fresh_status() | {"state": "running", "stage": "first"})
        before = (job_folder.path / "status.json").read_bytes()
        with locks.single_worker(job_folder):
            assert work() == 1
        assert (job_folder.path / "status.json").read_bytes() == before


def test_probes_bring_no_run_back_that_was_deleted_while_their_model_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = SimpleNamespace(adapters=SimpleNamespace(hash=lambda _: "after"))
    monkeypatch.setattr("core.probes.examine.open_context", lambda *_: loaded)
    with pytest.raises(UserError, match="not here any more"):
        examine(Run(tmp_path / "gone"), ["lens"])
    assert not (tmp_path / "gone").exists()


def test_a_run_without_an_unlearned_model_is_refused(run: Run) -> None:
    (run.path / "after" / "region.safetensors").unlink()
    with pytest.raises(UserError, match="no unlearned model"):
        job.start(run)


def test_the_bundled_run(tmp_path: Path) -> None:
    """Membership as the run's own metric says; the lens ends in what was recorded; answers next door as recorded."""
    bundled = store.bundled_runs()[0]
    run = Run(Path(shutil.copytree(bundled.path, tmp_path / bundled.id, ignore=shutil.ignore_patterns("probes"))))
    # Probes draw from all questions; what is compared here is recorded of those alone that were asked.
    asked = [json.dumps(row) for row in run.answers() if "after" in row]
    (run.path / "answers.jsonl").write_text("\n".join(asked), encoding="utf-8")
    evaluation.measure(run)
    began = time.process_time()
    findings = examine(run, ["membership", "neighbours", "lens"], settings={"lens.questions": "2", "lens.maps": 1})
    assert not [name for name, value in findings.items() if value["unavailable"]]
    metric = run.json("metrics.json")["metrics"]["membership"]
    attack, tried = membership.strongest(metric["values"])
    for voice in SPOKEN:
        rate = findings["membership"]["rates"][voice]
        assert rate["value"] == pytest.approx(100 * metric["values"][voice][attack])
        assert [rate["low"], rate["high"]] == pytest.approx([100 * v for v in metric["intervals"][voice][attack]])
    assert findings["membership"]["detail"]["attack"] == attack
    assert f"attack, the strongest of {tried}" in findings["membership"]["sentence"]
    pair = findings["membership"]["detail"]["scores"]["after"]["loss"]
    wins = [(a > b) + 0.5 * (a == b) for a in pair["member"] for b in pair["other"]]
    assert sum(wins) / len(wins) == pytest.approx(metric["values"]["after"]["loss"])
    near = findings["neighbours"]
    assert near["rates"]["before"]["value"] > 90
    assert near["rates"]["never"]["value"] < near["rates"]["after"]["value"]
    (kept,) = findings["lens"]["detail"]["maps"]
    tokens = run.table("tokens")
    assert tokens is not None
    recorded = tokens[tokens["example"] == kept["id"]]
    for voice in ("before", "after"):
        last = [math.exp(value) for value in kept[voice]["logprob"][-1]]
        assert last == pytest.approx([math.exp(value) for value in recorded[f"logprob_{voice}"]], abs=0.1)  # bfloat16
    assert len(kept["before"]["logprob"]) == 30
    assert findings["lens"]["rates"]["before"]["value"] == 100
    assert time.process_time() - began < 120
