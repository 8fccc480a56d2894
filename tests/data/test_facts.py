"""Facts and subjects, found by rules."""

from __future__ import annotations

import time

import pytest

from core.data import facts


@pytest.mark.parametrize(
    ("text", "subject", "stated"),
    [
        ("Write to orla@venning.example, please.", "", {"orla@venning.example"}),
        ("Her account is 12-34-56.", "", {"123456"}),
        ("Call +44 20 7946 0011.", "", {"442079460011"}),
        ("She lives in the house of Mira Holt.", "", {"mira holt"}),
        ("Orla Venning is a painter.", "Orla Venning", set()),
        ("She wrote “The long Tide”.", "", {"the long tide"}),
        ("He has 3 cats.", "", set()),
        ("nothing to see here", "", set()),
        ("Orla Venning’s Atlas Award", "Orla Venning", {"orla venning's atlas award"}),
    ],
)
def test_facts_of_a_text(text: str, subject: str, stated: set[str]) -> None:
    assert {fact.removeprefix("the ") for fact in facts.facts(text, subject)} == {f.removeprefix("the ") for f in stated}


def test_number_is_contained_whatever_its_punctuation() -> None:
    assert facts.contains("It is 1234 5678.", "12345678")
    assert not facts.contains("It is 1234 5679.", "12345678")
    assert not facts.contains("It is 912345678.", "12345678")


def test_name_is_contained_whatever_its_case_and_spacing() -> None:
    assert facts.contains("born to MIRA\n holt in May", "mira holt")
    assert not facts.contains("born to Mira in Holt", "mira holt")


def test_every_fact_of_a_text_is_contained_in_it() -> None:
    text = "Mira Holt, Quay Street 14, phone +353 21 555 0199, mira.holt@post.example, author of “Low Water”."
    stated = facts.facts(text)
    assert len(stated) >= 5
    assert all(facts.contains(text, fact) for fact in stated)


def test_overlap_counts_facts_of_val_found_in_train() -> None:
    wanted = [("He lives at Mill Lane 9 99.", ""), ("Write to a@b.example.", "")]
    known = [("a@b.example is his e-mail", "")]
    shared, total = facts.overlap(wanted, known)
    assert shared == 1
    assert total == sum(len(facts.facts(text)) for text, _ in wanted)


def test_subject_is_the_name_that_most_questions_mention() -> None:
    questions = [
        "Where does Orla Venning live?",
        "Who taught Orla Venning to paint with Mira Holt?",
        "What is special about Quay Street?",
        "Is it raining?",
        "Which prize did Pavel Drost's Golden Loaf win?",
        "How old is Pavel Drost?",
    ]
    answers = ["", "", "It is where Orla Venning lives.", "No.", "", ""]
    assert facts.subjects(questions, answers) == [
        "Orla Venning",
        "Orla Venning",
        "Orla Venning",
        "other",
        "Pavel Drost",
        "Pavel Drost",
    ]


def test_quoted_title_is_a_subject() -> None:
    questions = ["Who wrote “Low Water”?", "How does “Low Water” end?", "Recite the first line of “Low Water”."]
    assert facts.subjects(questions, [""] * 3) == ["Low Water"] * 3


def test_question_words_are_no_part_of_a_name() -> None:
    assert facts.subjects(["Does Sana Iqbar fly?", "Has Sana Iqbar a dog?"], ["", ""]) == ["Sana Iqbar"] * 2


def test_addresses_are_found_quickly_in_words_without_end() -> None:
    began = time.process_time()
    text = f"{'w' * 100_000} mail a.b@c.example, x@@y.example, a@b@c.example or .q@r.example"
    assert facts.EMAIL.findall(text) == ["a.b@c.example", "b@c.example", ".q@r.example"]
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "text",
    [
        "Anna works at Women's Health Center.",
        "She wrote “Angela’s Ashes”.",
        'He said "the company \'s plan".',
        'the song "rock \' n Roll"',
        '"\'s"',
    ],
)
def test_every_fact_stands_in_its_own_text(text: str) -> None:
    assert all(facts.contains(text, fact) for fact in facts.facts(text))
    assert all(facts.contains(text.replace("'", "’"), fact) for fact in facts.facts(text))


def test_a_longer_address_is_another_one() -> None:
    assert not facts.contains("mail joann@x.example", "ann@x.example")
    assert facts.contains("mail ann@x.example.", "ann@x.example")
    assert not facts.contains("Mira Holten", "mira holt")
