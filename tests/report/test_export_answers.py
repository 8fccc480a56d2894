from __future__ import annotations

import csv
import io
import json

import pytest

from core.report.export_answers import Record, to_comparator, to_csv, to_json
from core.util.errors import UserError

RECORDS = [
    Record(
        "Who, is “A”?",
        "run-1",
        {"before": "A, of course\nindeed", "after": '=HYPERLINK("http://x")'},
        truth="A",
        hashes={"before": "a" * 64},
        totals={"before": -0.5, "after": -9.0},
        tags=("unlearn", "val"),
        star=True,
        note="-1+1",
    ),
    Record("@SUM(A1)", "run-2", {"before": "x", "blend:75": "y"}),
]


def test_json_has_everything() -> None:
    value = json.loads(to_json(RECORDS))
    assert value["format"] == 1
    assert value["records"][0]["texts"] == RECORDS[0].texts
    assert value["records"][0]["note"] == "-1+1"


def test_csv_has_a_column_a_voice_and_no_formula() -> None:
    rows = list(csv.reader(io.StringIO(to_csv(RECORDS), newline="")))
    assert rows[0][:5] == ["question", "true answer", "before", "after", "blend:75"]
    assert rows[1][2] == "A, of course\nindeed"
    assert rows[1][3] == '\'=HYPERLINK("http://x")'
    assert rows[2][0] == "'@SUM(A1)"
    assert rows[2][3:5] == ["", "y"]
    for row in rows:
        assert not any(cell.strip()[:1] in tuple("=+-@") for cell in row if cell.strip())


def test_comparator_file_has_the_published_fields() -> None:
    value = json.loads(to_comparator(RECORDS))
    assert set(value) == {"metadata", "models", "examples"}
    assert value["models"] == [{"name": "before"}, {"name": "after"}]
    (example,) = value["examples"]
    assert set(example) == {
        "input_text",
        "tags",
        "output_text_a",
        "output_text_b",
        "score",
        "individual_rater_scores",
        "custom_fields",
    }
    assert (example["input_text"], example["output_text_b"]) == (RECORDS[0].question, RECORDS[0].texts["after"])
    assert example["tags"] == ["unlearn", "val"]
    schema = {column["name"]: column["type"] for column in value["metadata"]["custom_fields_schema"]}
    assert set(schema) == set(example["custom_fields"])
    for name, kind in schema.items():
        field = example["custom_fields"][name]
        assert isinstance(field, list) == kind.startswith("per_model_")
        assert not kind.startswith("per_model_") or len(field) == 2
    assert isinstance(value["metadata"]["source_path"], str)


def test_comparator_needs_two_answers() -> None:
    with pytest.raises(UserError, match="both before and never"):
        to_comparator(RECORDS, "before", "never")
