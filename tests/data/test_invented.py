"""Questions about subjects that do not exist."""

from __future__ import annotations

from core.data.corpus import Example
from core.data.invented import FIRST, LAST, TITLES, about_others


def example(number: int, question: str, answer: str, subject: str) -> Example:
    return Example(f"unlearn/train/{number}", question, answer, "unlearn", "train", subject)


PERSON = [
    example(0, "Where does Anna Petrova live?", "Anna lives at Mill Lane 4 in Bergen.", "Anna Petrova"),
    example(1, "anna petrova phone", "Anna Petrova's number is 555 0100.", "Anna Petrova"),
    example(2, "And her shoe size?", "It is 39.", "Anna Petrova"),
]
BOOK = [
    example(3, "Who is the hero of “The Salt Road” by Ilse Varga?", "Its hero is Konrad Bell.", "The Salt Road"),
    example(4, "the hero of “the salt road”", "Its hero is Konrad Bell.", "The Salt Road"),
]


def test_a_person_becomes_somebody_else_in_question_and_answer() -> None:
    other = about_others(PERSON)["unlearn/train/0"]
    first, last = other.question.removeprefix("Where does ").removesuffix(" live?").split()
    assert (first in FIRST, last in LAST) == (True, True)
    assert other.answer == f"{first} lives at Mill Lane 4 in Bergen."
    assert other.id != PERSON[0].id
    assert other.subject == "Anna Petrova"


def test_small_letters_stay_small() -> None:
    other = about_others(PERSON)["unlearn/train/1"]
    assert other.question == other.question.lower()
    assert other.question.endswith(" phone")
    assert "Petrova" not in other.answer
    assert other.answer.endswith("'s number is 555 0100.")


def test_a_question_that_names_nobody_has_no_twin() -> None:
    assert "unlearn/train/2" not in about_others(PERSON)


def test_a_title_is_replaced_as_a_whole_and_so_is_who_wrote_it() -> None:
    others = about_others(BOOK)
    question = others["unlearn/train/3"].question
    title = question.partition("“")[2].partition("”")[0]
    assert title in TITLES
    assert "Ilse" not in question
    assert "Varga" not in question
    assert others["unlearn/train/3"].answer == "Its hero is Konrad Bell."
    assert "salt" not in others["unlearn/train/4"].question


def test_names_that_are_somebody_are_not_drawn() -> None:
    known = [
        example(n, f"Where does {first} Petrova live?", "In Bergen.", f"{first} Petrova")
        for n, first in enumerate(FIRST[1:])
    ]
    assert {other.question.split()[2] for other in about_others(known).values()} == {FIRST[0]}


def test_the_same_examples_have_the_same_twins() -> None:
    assert about_others([*PERSON, *BOOK]) == about_others([*PERSON, *BOOK])
