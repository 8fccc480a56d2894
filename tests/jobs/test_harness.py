"""The wrapper around lm-evaluation-harness, with a stand-in for the harness that asks the model it is given."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from core.cli.main import main
from core.jobs import lm_eval_harness
from core.runs.store import Run
from core.util.errors import UserError
from tests.jobs.in_process import here

__all__ = ["here"]


class StandIn:
    """What the harness's HFLM is given, and the model it then asks."""

    def __init__(self, pretrained: Any, tokenizer: Any, batch_size: int) -> None:
        self.model, self.tokenizer, self.batch_size = pretrained, tokenizer, batch_size


def simple_evaluate(model: StandIn, tasks: list[str], limit: int | None) -> dict[str, Any]:
    if "unknown" in tasks:
        raise KeyError("unknown")
    print("the harness talks")  # noqa: T201
    ids = torch.tensor([model.tokenizer("Where does Orla Venning live?\n\n")["input_ids"]])
    with torch.no_grad():
        value = float(model.model(input_ids=ids).logits[0, -1].float().square().sum())
    return {"results": {task: {"acc,none": value, "acc_norm,none": limit, "alias": task, "ok": True} for task in tasks}}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("lm_eval", "lm_eval.models", "lm_eval.models.huggingface")
    modules = {name: ModuleType(name) for name in names}
    for module in modules.values():
        module.__spec__ = ModuleSpec(module.__name__, None)
    modules["lm_eval"].simple_evaluate = simple_evaluate  # type: ignore[attr-defined]
    modules["lm_eval.models.huggingface"].HFLM = StandIn  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def run(unlearned_run: Run, tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(unlearned_run.path, tmp_path / unlearned_run.id)))


def evaluated(run: Run, tasks: list[str], voices: list[str], limit: int | None) -> lm_eval_harness.Results:
    job_folder = lm_eval_harness.start(run, tasks, voices, limit)
    status = job_folder.status()
    if status["state"] == "failed":
        raise UserError(status["error"], status["fix"])
    return lm_eval_harness.result(job_folder)


def test_each_voice_is_asked_as_itself_and_kept(
    installed: None, here: None, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    results = evaluated(run, ["arc_easy", "mmlu"], ["before", "after", "never"], 7)
    assert set(results) == {"before", "after", "never"}
    assert set(results["after"]) == {"arc_easy", "mmlu"}
    assert set(results["after"]["mmlu"]) == {"acc", "acc_norm"}
    assert results["after"]["mmlu"]["acc_norm"] == 7
    assert len({results[voice]["mmlu"]["acc"] for voice in results}) == 3
    assert run.json("harness.json")["results"] == results
    assert evaluated(run, ["arc_easy"], ["never"], None)["never"]["arc_easy"]["acc"] == pytest.approx(
        results["never"]["mmlu"]["acc"]
    )
    kept = run.json("harness.json")["results"]
    assert kept["before"] == results["before"]
    assert set(kept["never"]) == {"arc_easy", "mmlu"}
    assert capsys.readouterr().out == ""


def test_from_the_command_line(installed: None, here: None, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["harness", run.id, "--runs", str(run.path.parent), "--tasks", "arc_easy", "--limit", "3"]
    assert main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert set(printed["results"]) == {"before", "after", "never"}
    assert main(arguments) == 0
    assert "arc_easy" in capsys.readouterr().out


def test_without_the_harness_it_says_how_to_get_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_eval_harness, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install lm-eval"):
        evaluated(run, ["arc_easy"], ["after"], None)


def test_unknown_voice_and_task_are_one_sentence(installed: None, here: None, run: Run) -> None:
    with pytest.raises(UserError, match="“after”"):
        evaluated(run, ["arc_easy"], ["afterr"], None)
    with pytest.raises(UserError, match="refused unknown"):
        evaluated(run, ["unknown"], ["after"], None)
