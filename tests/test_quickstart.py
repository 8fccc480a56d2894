"""The quickstart notebook is run by Jupyter's own client, as somebody would who opens it in its folder."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from core.runs import asked, store
from core.runs.scores import Scores
from core.serve import client
from core.util.paths import ASSETS

FILE = ASSETS / "quickstart.ipynb"
MOST_CELLS = 11


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    made: nbformat.NotebookNode = nbformat.read(FILE, as_version=4)
    return made


def outputs(notebook: nbformat.NotebookNode) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def test_it_is_short_and_has_no_outputs(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    assert len(notebook.cells) <= MOST_CELLS
    assert outputs(notebook) == []
    assert all(cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


def test_it_asks_before_and_after_and_draws_the_map(notebook: nbformat.NotebookNode) -> None:
    try:
        NotebookClient(
            notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(FILE.parent)}}
        ).execute()
    finally:
        client.leave()
    run = store.find("privacy-clean", store.runs_folder())
    said = "".join(output["text"] for output in outputs(notebook) if output.output_type == "stream")
    assert asked.sentence(Scores.read(run)) in said
    recorded = {row["question"]: row for row in run.answers() if row["split"] == "free"}
    questions = [line for line in said.splitlines() if line in recorded]
    assert [recorded[question]["scope"] for question in questions] == ["unlearn", "unlearn", "retention"]
    for question in questions:
        before, after = (line.strip() for line in said.split(question + "\n", 1)[1].splitlines()[:2])
        assert before == f"before: {recorded[question]['before']}".strip()
        assert after == f"after: {recorded[question]['after']}".strip()
    (plot,) = (output["data"] for output in outputs(notebook) if "application/vnd.plotly.v1+json" in output.get("data", {}))
    heat, dots = plot["application/vnd.plotly.v1+json"]["data"]
    assert (heat["type"], dots["type"]) == ("heatmap", "scatter")
    assert "Was it taught?" in said, "the scorecard of the probes"
