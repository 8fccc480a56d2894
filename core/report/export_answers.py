"""Asked questions as files: JSON for programs, CSV for spreadsheets, and the format of LLM Comparator.

LLM Comparator (PAIR, Google) shows two models side by side; its file is described in "JSON Data Format" of
https://github.com/PAIR-code/llm-comparator (README.md) and typed in its client/lib/types.ts: `metadata` with source_path
and custom_fields_schema, two `models`, and `examples`. A score there is a judge's verdict, positive where A is better;
nobody judged these answers, so it is null, which its type allows. No heavy import.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from core.util import csv_safe
from core.util.errors import UserError

FORMAT = 1


@dataclass(frozen=True)
class Record:
    """One question with what each voice answered."""

    question: str
    run: str
    texts: Mapping[str, str]
    """voice, in the grammar of core.runs.voices -> answer"""
    truth: str = ""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """voice -> SHA-256 of its adapter's weights"""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """decoding settings and seed"""
    sources: Mapping[str, str] = field(default_factory=dict)
    """voice -> recorded (when the run was evaluated), asked, or stopped"""
    totals: Mapping[str, float] = field(default_factory=dict)
    """voice -> log-probability of the whole true answer, where it was scored"""
    tags: tuple[str, ...] = ()
    """scope and split of a question that stands in the run's data"""
    star: bool = False
    note: str = ""


def to_json(records: Sequence[Record]) -> str:
    """Return all that is known about the records."""
    return json.dumps({"format": FORMAT, "records": [asdict(record) for record in records]}, indent=1, ensure_ascii=False)


def to_csv(records: Sequence[Record]) -> str:
    """Return a table, a row a question and a column a voice. No cell is read as a formula by a spreadsheet."""
    voices = list(dict.fromkeys(voice for record in records for voice in record.texts))
    heads = ("question", "true answer", *voices, "run", "tags", "star", "note", "settings")
    rows = [
        (
            record.question,
            record.truth,
            *(record.texts.get(voice, "") for voice in voices),
            record.run,
            " ".join(record.tags),
            "yes" if record.star else "",
            record.note,
            json.dumps(dict(record.settings)),
        )
        for record in records
    ]
    return csv_safe.written([heads, *rows])


def to_comparator(records: Sequence[Record], a: str = "before", b: str = "after") -> str:
    """Return an LLM Comparator file of two voices; records that lack one of them are left out.

    Raises UserError where none has both.
    """
    both = [record for record in records if a in record.texts and b in record.texts]
    if not both:
        raise UserError(f"No question was answered by both {a} and {b}.", "Ask one first.")
    schema = [
        {"name": "true_answer", "type": "text"},
        {"name": "run", "type": "category"},
        {"name": "note", "type": "text"},
        {"name": "starred", "type": "category"},
        {"name": "words", "type": "per_model_number"},
        {"name": "true_answer_logprob", "type": "per_model_number"},
        {"name": "weights", "type": "per_model_category"},
    ]
    document = {
        "metadata": {"source_path": " ".join(dict.fromkeys(record.run for record in both)), "custom_fields_schema": schema},
        "models": [{"name": a}, {"name": b}],
        "examples": [_example(record, a, b) for record in both],
    }
    return json.dumps(document, indent=1, ensure_ascii=False)


def _example(record: Record, a: str, b: str) -> dict[str, Any]:
    texts = [record.texts[voice] for voice in (a, b)]
    return {
        "input_text": record.question,
        "tags": list(record.tags) or ["own question"],
        "output_text_a": texts[0],
        "output_text_b": texts[1],
        "score": None,
        "individual_rater_scores": [],
        "custom_fields": {
            "true_answer": record.truth,
            "run": record.run,
            "note": record.note,
            "starred": "yes" if record.star else "no",
            "words": [len(text.split()) for text in texts],
            "true_answer_logprob": [record.totals.get(voice) for voice in (a, b)],
            "weights": [record.hashes.get(voice, "")[:10] for voice in (a, b)],
        },
    }
