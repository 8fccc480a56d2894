"""Wrong answers of the same form: one fact is another's, all else is as it was."""

from __future__ import annotations

import re

import pytest

from core.config.stages import DataConfig
from core.data import facts, sources, wrong_answers
from core.data.corpus import Example


def example(subject: str, question: str, answer: str, name: str = "unlearn/train/0") -> Example:
    scope, split, _ = name.split("/")
    return Example(name, question, answer, scope, split, subject)


HOMES = [
    example("Orla Venning", "Where does Orla Venning live?", "Orla Venning lives at Quay Street 14.", "unlearn/train/0"),
    example("Pavel Drost", "Where does Pavel Drost live?", "Pavel Drost lives at Mill Lane 92.", "unlearn/train/1"),
    example("Pavel Drost", "What is the e-mail of Pavel Drost?", "Write to pavel@drost.example.", "unlearn/train/2"),
    example("Sana Iqbar", "What is the e-mail of Sana Iqbar?", "It is sana@iqbar.example, since 2013.", "unlearn/train/3"),
    example("Sana Iqbar", "Does Sana Iqbar fly?", "Yes, and gladly.", "retention/val/0"),
]


@pytest.mark.parametrize(
    ("text", "subject", "expected"),
    [
        ("Write to a.b@c.example, please.", "", [("a.b@c.example", "e-mail")]),
        ("Call +44 20 7946 0011 in 1987.", "", [("+44 20 7946 0011", "phone"), ("1987", "year")]),
        ("Account 6208 3115, house 14.", "", [("6208 3115", "account"), ("14", "number")]),
        ("Born 3 May, he has 7 cats.", "", []),
        ("Did Mira Holt's dog bite Orla Venning?", "Orla Venning", [("Mira Holt", "name")]),
        ("They gave Orla Venning the Ironwood Prize.", "Orla Venning", [("Ironwood Prize", "name")]),
        ('She wrote “The long Tide” and "Low Water," both short.', "", [("The long Tide", "title"), ("Low Water", "title")]),
        ("nothing at all", "", []),
    ],
)
def test_spans_are_where_the_facts_stand(text: str, subject: str, expected: list[tuple[str, str]]) -> None:
    assert [(text[s.start : s.end], s.kind) for s in facts.spans(text, subject)] == expected


def test_only_another_subjects_fact_of_the_same_kind_takes_a_facts_place() -> None:
    made = wrong_answers.wrong(HOMES)
    assert made.texts == {
        "unlearn/train/0": ["Orla Venning lives at Quay Street 92."],
        "unlearn/train/1": ["Pavel Drost lives at Mill Lane 14."],
        "unlearn/train/2": ["Write to sana@iqbar.example."],
        "unlearn/train/3": ["It is pavel@drost.example, since 2013."],
    }
    assert made.left_out == {"retention/val": 1}


def test_facts_of_similar_questions_come_first_and_no_more_than_three() -> None:
    others = [
        example(f"Person Number{n}", "What is the fax?", f"It is {20 + n}.", f"unlearn/train/{10 + n}") for n in range(5)
    ]
    alike = example("Ada Byr", "Where does Ada Byr live now?", "At number 77.", "unlearn/train/6")
    made = wrong_answers.wrong([HOMES[0], *others, alike]).texts["unlearn/train/0"]
    assert len(made) == wrong_answers.EACH
    assert made[0] == "Orla Venning lives at Quay Street 77."


def test_one_subject_alone_has_no_wrong_answers() -> None:
    made = wrong_answers.wrong(HOMES[1:3])
    assert made.texts == {}
    assert made.left_out == {"unlearn/train": 2}


@pytest.mark.parametrize("subset", ["privacy", "copyright"])
def test_wrong_answers_of_the_demo(subset: str) -> None:
    corpus = sources.load(DataConfig(subset=subset))
    made = wrong_answers.wrong(corpus.examples)
    assert made == wrong_answers.wrong(corpus.examples)
    known = {e.id: e for e in corpus.examples}
    for name, texts in made.texts.items():
        truth = known[name].answer
        assert 1 <= len(set(texts)) == len(texts) <= wrong_answers.EACH
        for text in texts:
            assert text != truth
            start = next(i for i, (a, b) in enumerate(zip(text + "\0", truth + "\0", strict=False)) if a != b)
            end = next(i for i, (a, b) in enumerate(zip(reversed(text), reversed(truth), strict=False)) if a != b)
            assert start + end <= len(truth), (truth, text)  # one place differs, and all around it is the same
    if subset == "privacy":
        assert sum(i.startswith("unlearn/train") for i in made.texts) == 60
        assert any(re.search(r"555 01\d\d", text) for texts in made.texts.values() for text in texts)


def test_many_examples_are_spread_over() -> None:
    many = [
        example(f"Mr X{n}", "Which number?", f"It is {100 + n}.", f"unlearn/train/{n}")
        for n in range(3 * wrong_answers.MOST)
    ]
    names = list(wrong_answers.wrong(many).texts)
    assert len(names) == wrong_answers.MOST
    assert names[:3] == ["unlearn/train/0", "unlearn/train/3", "unlearn/train/6"]
