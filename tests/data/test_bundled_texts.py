"""Our own test material: nothing in it may be known from the demo, and each question has one right answer."""

from __future__ import annotations

import re

import pytest

from core.config.stages import DataConfig
from core.data import facts, sources
from core.data.corpus import Example
from core.pipeline import extras
from tests.demo_data import UNSEEN


@pytest.mark.parametrize(("subset", "known"), [("privacy", 12 * 6), ("copyright", 6 * 8)])
def test_never_seen_questions_share_no_name_and_no_fact_with_the_demo(subset: str, known: int) -> None:
    corpus, made = sources.load(DataConfig(subset=subset)), extras.unseen(subset)
    assert len(made) == len({e.question for e in made}) == UNSEEN * known
    assert len({e.answer for e in made}) == known
    text = " ".join(f"{e.question} {e.answer}" for e in corpus.examples).lower()
    for example in made:
        # Days of a month and house numbers are too few to be told apart by.
        told = (fact for fact in facts.facts(f"{example.question} {example.answer}") if not fact.isdigit() or len(fact) > 3)
        for fact in told:
            assert not facts.contains(text, fact), (example.id, fact)
    subjects = {e.subject for e in corpus.examples}
    assert not [s for s in subjects for e in made if s in f"{e.question} {e.answer}"]


@pytest.mark.parametrize("subset", ["privacy", "copyright"])
def test_never_seen_answers_are_as_long_as_those_of_the_demo(subset: str) -> None:
    def lengths(examples: list[Example]) -> tuple[float, float]:
        words = [len(e.answer.split()) for e in examples]
        return sum(words) / len(words), sum(len(e.question.split()) for e in examples) / len(words)

    mine, theirs = (
        lengths(extras.unseen(subset)),
        lengths(sources.load(DataConfig(subset=subset)).select("unlearn", "train")),
    )
    assert mine == pytest.approx(theirs, rel=0.1)


def test_other_data_are_compared_with_all_never_seen_questions() -> None:
    everything = sum(len(extras.unseen(subset)) for subset in ("privacy", "copyright"))
    assert len(extras.unseen("mine")) == len({e.id for e in extras.unseen("mine")}) == everything


def test_multiple_choice_questions_are_different_and_so_are_their_options() -> None:
    made = extras.choices()
    assert len(made) == len({row["question"] for row in made}) == 120
    for row in made:
        assert set(row) == {"question", "options"}
        assert len(set(row["options"])) == 4
        assert row["question"].endswith("?")
        assert all(re.fullmatch(r"[\w -]+", option) for option in row["options"]), row


def test_material_is_part_of_what_stages_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    before = extras.fingerprint("privacy")
    monkeypatch.setattr(extras, "choices", lambda: [{"question": "other?", "options": ["a", "b", "c", "d"]}])
    assert extras.fingerprint("privacy") != before


def test_each_subset_has_never_taught_questions_of_its_own_and_stages_know_it() -> None:
    assert extras.fingerprint("privacy") != extras.fingerprint("copyright")
