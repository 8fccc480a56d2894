"""Everyday questions and answers: our own set is sound and about nothing else here; a user's file is read or refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from core.config.stages import DataConfig
from core.data import general_text, sources
from core.util.errors import UserError
from core.util.paths import ASSETS


def plain(text: str) -> str:
    return " ".join(text.lower().split())


def test_our_own_set_is_about_a_hundred_distinct_pairs() -> None:
    examples = general_text.examples("")
    assert 110 <= len(examples) <= 130
    assert len({plain(e.question) for e in examples}) == len({plain(e.answer) for e in examples}) == len(examples)
    assert len({e.id for e in examples}) == len(examples)
    for e in examples:
        assert e.question[-1] in "?"
        assert e.answer[-1] == "."
        assert 15 <= len(e.answer) <= 160


@pytest.mark.parametrize("subset", ["privacy", "copyright"])
def test_our_own_set_is_about_neither_demo(subset: str) -> None:
    corpus = sources.load(DataConfig(source="demo", subset=subset))
    names = {part.lower() for e in corpus.examples if e.subject for part in [e.subject]}
    text = plain(" ".join(f"{e.question} {e.answer}" for e in general_text.examples("")))
    assert not [name for name in names if name in text]
    assert not {plain(e.question) for e in corpus.examples} & {plain(e.question) for e in general_text.examples("")}


def test_our_own_set_shares_nothing_with_what_language_is_measured_on() -> None:
    text = (ASSETS / "data" / "general.txt").read_text(encoding="utf-8")
    sentences = {plain(sentence) for sentence in re.split(r"(?<=[.?!])\s", text)}
    choices = {plain(row["question"]) for row in json.loads((ASSETS / "data" / "choices.json").read_text(encoding="utf-8"))}
    for e in general_text.examples(""):
        assert plain(e.answer) not in sentences
        assert plain(e.question) not in choices
        assert not any(len(words(e.answer) & words(s)) > 0.6 * len(words(e.answer)) for s in sentences)


def words(text: str) -> set[str]:
    return set(plain(text).replace(",", "").replace(".", "").split())


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv"])
def test_a_file_of_ones_own(tmp_path: Path, suffix: str) -> None:
    rows = [{"question": "Q1?", "answer": "A1."}, {"question": "Q2?", "answer": "A2."}]
    path = tmp_path / f"mine.{suffix}"
    path.write_text(
        {
            "json": json.dumps(rows),
            "jsonl": "\n".join(json.dumps(row) for row in rows),
            "csv": "question,answer\nQ1?,A1.\nQ2?,A2.\n",
        }[suffix],
        encoding="utf-8",
    )
    assert [(e.question, e.answer) for e in general_text.examples(str(path))] == [("Q1?", "A1."), ("Q2?", "A2.")]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("nothing.json", None, "no general text"),
        ("mine.txt", "text", "no data file"),
        ("mine.json", '[{"text": "a"}]', "no row with question and answer"),
        ("mine.json", "[", "not valid JSON"),
    ],
)
def test_a_file_that_will_not_do_is_one_sentence(tmp_path: Path, name: str, content: str | None, match: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=match):
        general_text.examples(str(tmp_path / name))
