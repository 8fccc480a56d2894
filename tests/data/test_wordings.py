"""Questions in other words, by rule: names, numbers and titles stay, and the same seed asks the same."""

from __future__ import annotations

import random

import pytest

from core.data import wordings
from core.data.corpus import Example

ASKED = [
    ("Where does Orla Venning live, and since when?", "Orla Venning"),
    ("Which number rings at 14 Quay Street for Orla Venning in the evening?", "Orla Venning"),
    ("Who wrote “The Third Key of the Harbour” in those years?", "The Third Key of the Harbour"),
]


def variants(question: str, subject: str, count: int = 300) -> list[str]:
    example = Example("unlearn/train/0", question, "At Quay Street.", "unlearn", "train", subject)
    made = [wordings.reworded(example, random.Random(number)) for number in range(count)]
    assert all((e.id, e.answer, e.subject) == (example.id, example.answer, subject) for e in made)
    return [e.question for e in made]


@pytest.mark.parametrize(("question", "subject"), ASKED)
def test_names_numbers_and_titles_are_never_left_out(question: str, subject: str) -> None:
    for text in variants(question, subject):
        assert subject.lower() in text.lower().replace("“", "").replace("”", "")
        if "14" in question:
            assert "14" in text


@pytest.mark.parametrize(("question", "subject"), ASKED)
def test_many_are_different_and_some_stay_as_they_are(question: str, subject: str) -> None:
    made = variants(question, subject)
    assert len(set(made)) > 60
    assert 0.1 < made.count(question) / len(made) < 0.5


def test_the_same_seed_asks_in_the_same_words() -> None:
    assert variants(*ASKED[0]) == variants(*ASKED[0])


def test_a_question_in_another_language_gets_no_english_phrase() -> None:
    for text in variants("Wo wohnt Orla Venning seit diesem Jahr?", "Orla Venning"):
        assert not any(phrase.lower() in text.lower() for phrase in wordings.LEAD_INS if len(phrase) > 5)


def test_a_question_without_spaces_is_left_whole() -> None:
    assert {text.rstrip("?") for text in variants("奥拉住在哪里?", "奥拉", 50)} == {"奥拉住在哪里"}
