"""Every hostile file of questions is refused with a sentence or read rightly, by the loader and by the page's check
alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config.stages import DataConfig
from core.data import sources
from tests.hostile import data_files
from tests.hostile.harness import Around, calm


@pytest.mark.parametrize("case", list(data_files.ALL))
def test_a_file_of_questions(case: str, tmp_path: Path) -> None:
    name, content, word = data_files.ALL[case]
    around = Around.make(tmp_path)
    path = around.folder / name
    path.write_bytes(content)
    calm(lambda: sources.load(DataConfig(source=str(path))), word, around)
    checked = calm(lambda: _row_by_row(path), word, around)
    assert word or checked
    if checked:
        assert not checked.problems


def _row_by_row(path: Path) -> sources.Checked:
    """Check as the page does, which shows each bad row; raise the first one, so that both ways give one sentence."""
    checked = sources.check_file(path)
    for problem in checked.problems:
        assert len(problem.excerpt) <= 100
        assert len(problem.what) <= 200
        raise sources.UserError(f"{path.name}: row or line {problem.row} {problem.what}.")
    return checked
