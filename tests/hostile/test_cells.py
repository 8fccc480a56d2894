"""No CSV that leaves the project holds a formula, and none changes a number."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest

from core.report import export_tables
from core.report.export_answers import Record, to_csv
from core.runs import store
from core.runs.scores import Scores
from core.util.csv_safe import written
from dashboard.evidence import all_metrics
from tests.hostile import cells


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def rows(text: str) -> str:
    return written([[text, 1], [None, text]])


def questions(text: str) -> str:
    return to_csv([Record(text, text, {text: text}, truth=text, note=text, tags=(text,))])


def tables(text: str) -> str:
    import pandas as pd

    return export_tables.csv_of(pd.DataFrame({text or "x": [text, text]}))


def values(text: str) -> str:
    """Return the values of each question of a run, all of whose texts are this one."""
    run = store.bundled_runs()[0]
    listed = [{**row, "question": text, "truth": text, "subject": text} for row in run.answers()[:2]]
    return all_metrics.per_example(Scores.read(run), listed)


@pytest.mark.parametrize("write", [rows, questions, tables, values])
@pytest.mark.parametrize("case", list(cells.ALL))
def test_a_cell(case: str, write: Callable[[str], str]) -> None:
    text, expected = cells.ALL[case]
    found = [cell for row in read(write(text)) for cell in row]
    assert expected in found
    assert expected == text or text not in found


def test_a_row_cannot_end_early() -> None:
    """Whatever stands in a cell, a row has as many as the head."""
    texts = [text for text, _ in cells.ALL.values()]
    assert [len(row) for row in read(written([texts] * 3))] == [len(texts)] * 3


def test_numbers_stay_numbers() -> None:
    import numpy as np

    value = [-1.5, 2, True, float("nan"), None, np.float64(-0.25), np.int64(-3), [-1.0, "=1"], {"-a": "=1"}]
    assert read(written([value]))[0] == ["-1.5", "2", "True", "", "", "-0.25", "-3", '[-1.0, "=1"]', '{"-a": "=1"}']
