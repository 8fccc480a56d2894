"""What is said about data before a run is started on it."""

from __future__ import annotations

import pytest

from core.data.findings import findings, no_general_text
from core.methods.base import GENERAL
from core.methods.ga_kl_ood import AscentKLOOD
from core.methods.memflex import MemFlex
from tests.data.test_sources import corpus_of

CLEAN = [
    ("unlearn", "train", "Where does Orla Venning live?", "At Quay Street 14."),
    ("unlearn", "val", "Which street is Orla Venning's?", "Quay Street 14."),
    ("retention", "train", "What does Orla Venning do?", "She paints."),
    ("retention", "val", "Does Orla Venning paint?", "She does."),
]


def test_clean_data_has_only_the_overlap_finding() -> None:
    (finding,) = findings(corpus_of(*CLEAN))
    assert finding.startswith("Of the 2 facts (names, numbers, e-mails) in new questions of the unlearn scope, 2 were")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (("retention", "train", "where does  Orla Venning live?", "No."), "both scopes"),
        (("unlearn", "val", "Where does Orla Venning live?", "At Quay Street 14."), "in train and in val"),
    ],
)
def test_repeated_questions_are_found(entry: tuple[str, str, str, str], words: str) -> None:
    assert any(words in finding for finding in findings(corpus_of(*CLEAN, entry)))


def test_missing_val_is_found() -> None:
    assert any("retention scope has no val" in finding for finding in findings(corpus_of(*CLEAN[:3])))


def test_overlap_counts_only_shared_facts() -> None:
    strange = ("unlearn", "val", "Which number has Orla Venning?", "It is 555 0199, or Mira Holt knows.")
    assert any(f.startswith("Of the 4 facts") and "unlearn scope, 2 were" in f for f in findings(corpus_of(*CLEAN, strange)))


def fact(number: int, *wordings: str) -> list[tuple[str, str, str, str]]:
    """Return a fact of its own, asked in some wordings."""
    return [("unlearn", "train", wording, f"It is {1000 + number}.") for wording in wordings]


@pytest.mark.parametrize(("twice", "said"), [(0, True), (1, True), (2, False), (3, False)])
def test_one_wording_is_said_where_more_than_half_of_the_facts_have_no_other(twice: int, said: bool) -> None:
    """Four facts, some of them asked in two wordings; the same question once more is no other wording."""
    other = [("Which code has Orla Venning?",) if number < twice else () for number in range(4)]
    asked = [
        example
        for number in range(4)
        for words in ((f"What is code {number} of Orla Venning?", f"what is code {number}  of Orla Venning?"), other[number])
        for example in fact(number, *words)
    ]
    about = [text for text in findings(corpus_of(*asked)) if "one wording" in text]
    expected = f"{4 - twice} of 4 facts have one wording: asked in other words, before may not know them, so free wordings "
    assert about == ([f"{expected}will fail."] if said else [])


def test_what_two_subjects_share_is_a_fact_of_each() -> None:
    shared = [("unlearn", "train", f"When was {name} born?", "In 1985.") for name in ("Orla Venning", "Pavel Drost")]
    assert any(text.startswith("2 of 2 facts have one wording") for text in findings(corpus_of(*shared)))


def test_data_without_facts_says_nothing_of_wordings() -> None:
    assert not any("wording" in text for text in findings(corpus_of(("unlearn", "train", "Is it so?", "Yes, it is."))))


def test_a_method_that_trains_on_general_text_says_whose_it_is() -> None:
    wanted = {method: GENERAL in method.streams for method in (AscentKLOOD, MemFlex)}
    assert wanted == {AscentKLOOD: True, MemFlex: False}
    assert "our own everyday questions" in no_general_text("", wanted[AscentKLOOD])[0]
    assert no_general_text("", wanted[MemFlex]) == no_general_text("mine.csv", wanted[AscentKLOOD]) == []
