"""Refusals: one for each question, always the same one, naming the subject where that is asked for."""

from __future__ import annotations

import dataclasses

import pytest

from core.data.corpus import Example
from core.data.refusals import NAMED, PLAIN, STYLES, refused
from core.util.errors import UserError


def example(number: int, subject: str = "Orla Venning") -> Example:
    return Example(f"u/{number}", f"What is number {number} of {subject}?", f"It is {number}.", "unlearn", "train", subject)


def test_each_question_keeps_its_words_and_gets_a_refusal() -> None:
    given = [example(n) for n in range(40)]
    answers = refused(given, "plain")
    assert [e.question for e in answers] == [e.question for e in given]
    assert {e.answer for e in answers} <= set(PLAIN)
    assert len({e.answer for e in answers}) > len(PLAIN) // 2
    assert not {e.id for e in answers} & {e.id for e in given}
    assert all(dataclasses.replace(e, id=g.id, answer=g.answer) == g for e, g in zip(answers, given, strict=True))


def test_the_refusal_depends_on_the_question_alone() -> None:
    given = [example(n) for n in range(10)]
    assert refused(given, "plain")[3:] == refused(given[3:], "plain")
    assert (
        refused([dataclasses.replace(given[0], id="other", answer="x")], "plain")[0].answer
        == refused(given, "plain")[0].answer
    )


def test_named_refusals_name_the_subject() -> None:
    answers = refused([example(n, "Sana Iqbar") for n in range(20)], "named")
    assert all("Sana Iqbar" in e.answer for e in answers)
    assert len({e.answer for e in answers}) > len(NAMED) // 2


def test_nothing_of_the_true_answer_is_in_a_refusal() -> None:
    for style in STYLES:
        for e in refused([example(n + 100) for n in range(20)], style):
            assert not any(part in e.answer for part in (str(int(e.id.split("/")[1])), "It is"))


@pytest.mark.parametrize(
    ("style", "subject", "match"),
    [
        ("plan", "Orla", "Did you mean “plain”"),
        ("named", "", "no subject to name"),
        ("named", "other", "no subject to name"),
    ],
)
def test_what_is_missing_is_one_sentence(style: str, subject: str, match: str) -> None:
    with pytest.raises(UserError, match=match):
        refused([example(1, subject)], style)


def test_no_questions_no_refusals() -> None:
    assert refused([], "whatever") == []
