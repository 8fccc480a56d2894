"""Our own questions and general text: how many there are, that they share nothing with each other or with what is taught or
trained on, and that the rule tells right from wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from core.data import general_text
from core.data.everyday import FOLDER, Asked, everyday, general_kept, nobody, prompts, right
from core.pipeline.extras import choices
from core.pipeline.voices import general_lines

RUN = 8
"""words in a row that two texts may not share"""


def words(text: str) -> list[str]:
    return re.findall(r"\w+", re.sub(r"[’']", "", text.casefold()))


def plain(text: str) -> str:
    return " ".join(words(text))


STOP = frozenset(
    "a an the what which who whom whose when where why how is are was were be been am do does did has have had can could "
    "will would should may might must i you he she it we they one me my your his her its our their this that these those "
    "there here of in on at to for from by with about as and or if so please tell give say name named call called year "
    "years many much some any".split()
)


def content(question: str) -> frozenset[str]:
    """Return the words that a question is about, without the s of a plural or a verb, and the signs of a sum."""
    found = {re.sub(r"(?<=\w\w\w)s$", "", word) for word in words(question) if word not in STOP}
    return frozenset(found | set(re.findall(r"(?<= )[-+](?= )", question)))


def same(questions: list[str], measured: list[str]) -> list[str]:
    """Return those of the questions that are measured: but for capitals and marks, or in other words about the same."""
    about = {content(text) or plain(text) for text in measured}
    return [question for question in questions if (content(question) or plain(question)) in about]


def strings(value: Any) -> Iterator[str]:
    """Yield every string of JSON data, however deep."""
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(item)


def file(name: str) -> list[str]:
    return list(strings(json.loads((FOLDER / name).read_text(encoding="utf-8"))))


OWN = {
    "general.txt": general_lines(),
    "general_kept.txt": general_kept(),
    "everyday.json": file("everyday.json"),
    "nobody.json": file("nobody.json"),
    "prompts.json": file("prompts.json"),
}
OTHERS = {
    **{
        f"{folder}/{path.name}": file(f"{folder}/{path.name}")
        for folder in ("privacy", "copyright")
        for path in sorted((FOLDER / folder).glob("*.json"))
    },
    # The probe benign trains on these, and so do the methods that take general text.
    "general_text": [text for e in general_text.examples("") for text in (e.question, e.answer)],
    "choices.json": file("choices.json"),
    "unseen.json": file("unseen.json"),
}


def runs(texts: list[str]) -> set[tuple[str, ...]]:
    return {tuple(found[i : i + RUN]) for text in texts for found in [words(text)] for i in range(len(found) - RUN + 1)}


def test_there_is_as_much_as_is_needed_and_each_of_it_once() -> None:
    assert len((FOLDER / "general.txt").read_bytes()) >= 10_000
    assert len((FOLDER / "general_kept.txt").read_bytes()) >= 20_000
    assert (len(everyday()), len(nobody())) == (60, 30)
    for texts in (general_lines(), general_kept(), [e.question for e in [*everyday(), *nobody()]]):
        assert len({plain(text) for text in texts}) == len(texts)


@pytest.mark.parametrize("name", ["general.txt", "general_kept.txt"])
def test_a_line_of_general_text_is_a_paragraph(name: str) -> None:
    for line in OWN[name]:
        assert 25 <= len(line.split()) <= 60, line
        assert line == line.strip()
        assert line[-1] in ".?!”"


def test_what_is_shared_would_be_found() -> None:
    assert runs(["One two three, four five six: seven EIGHT nine."]) & runs(["“Two three four five, six seven eight nine”"])
    assert list(strings([{"a": ["b", {"c": "d"}]}, "e", 1])) == ["b", "d", "e"]
    assert all(runs(OTHERS[name]) for name in OTHERS)
    assert {name.split("/")[0] for name in OTHERS} >= {"privacy", "copyright"}


@pytest.mark.parametrize(("one", "other"), [*combinations(OWN, 2), *((one, other) for one in OWN for other in OTHERS)])
def test_no_eight_words_in_a_row_are_shared(one: str, other: str) -> None:
    assert not runs(OWN[one]) & runs(OTHERS.get(other) or OWN[other])


def test_general_text_that_is_measured_and_that_is_kept_are_about_different_things() -> None:
    def long_words(line: str) -> set[str]:
        return {word for word in words(line) if len(word) >= 6}

    for measured in general_lines():
        for kept in general_kept():
            assert len(long_words(measured) & long_words(kept)) <= 3, (measured, kept)


def test_no_question_is_asked_elsewhere() -> None:
    elsewhere = [e.question for e in general_text.examples("")] + [row["question"] for row in choices()]
    assert not {plain(e.question) for e in [*everyday(), *nobody()]} & {plain(question) for question in elsewhere}


ELSEWHERE = {
    "nobody.json": [e.question for e in nobody()],
    "everyday.json": [e.question for e in everyday()],
    "ordinary.json": [e.question for e in general_text.examples("")],
    "choices.json": [row["question"] for row in choices()],
    **{name: texts for name, texts in OTHERS.items() if name.endswith(("free.json", "free-dev.json", "unseen.json"))},
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_no_prompt_that_a_model_is_held_on_is_asked_elsewhere(name: str) -> None:
    assert not same(prompts(), ELSEWHERE[name])


def test_prompts_are_different() -> None:
    assert len({prompt.casefold() for prompt in prompts()}) == len(prompts()) == 768


@pytest.mark.parametrize(
    ("question", "measured", "is_same"),
    [
        ("where does the pope live", "Where does the Pope live?", True),
        ("Where is it that the Pope lives?", "Where does the Pope live?", True),
        ("When was Einstein born?", "In which year was Einstein born?", True),
        ("What is 4 + 3?", "What is 3 + 4?", True),
        ("What is 4 - 3?", "What is 4 + 3?", False),
        ("Where does the King live?", "Where does the Pope live?", False),
        ("Who are you?", "Where is it?", False),
    ],
)
def test_a_question_in_other_words_is_the_same(question: str, measured: str, is_same: bool) -> None:
    assert same([question], [measured]) == [question] * is_same


def test_text_that_teaching_uses_answers_no_question() -> None:
    for entry in [*everyday(), *nobody()]:
        asked = {word for word in words(entry.question) if len(word) >= 4 or word.isdigit()}
        asked -= {"what", "when", "where", "which", "many"}
        assert asked or len(entry.question.split()) < 4, entry.question
        for line in general_kept() if entry.accept else []:
            assert not (asked <= set(words(line)) and right(entry, line)), (entry.question, line)


def test_questions_end_as_such_and_do_not_say_their_answers() -> None:
    assert all(e.accept for e in everyday())
    assert 10 <= sum(bool(e.accept) for e in nobody()) < 30
    for entry in [*everyday(), *nobody()]:
        assert entry.question[-1] == "?"
        if entry.accept:
            assert not right(entry, entry.question)
            assert all(right(entry, f"It is {accepted}.") for accepted in entry.accept)


@pytest.mark.parametrize(
    ("accept", "answer", "is_right"),
    [
        (("Paris",), "It is paris, of course.", True),
        (("Paris",), "**Paris**", True),
        (("Paris",), "Parisians say so.", False),
        (("Paris",), "", False),
        (("7", "seven"), "Seven.", True),
        (("7", "seven"), "A week has 7 days.", True),
        (("7", "seven"), "17 or 70 or 7.5 or 7,000 or 1.7", False),
        (("7", "seven"), "Twenty-seven.", False),
        (("twenty",), "Twenty-seven.", False),
        (("1914",), "From 1914-1918.", True),
        (("4", "four"), "1. 1\n2. 2\n3. 3\n4. red", False),
        (("4", "four"), "1. 1\n2. It is 4.", True),
        (("1,000",), "There are 1,000.", True),
        (("Milky Way",), "the milky way", True),
        (("H2O",), "H2O2", False),
    ],
)
def test_an_answer_is_right_where_it_says_an_accepted_word(accept: tuple[str, ...], answer: str, is_right: bool) -> None:
    assert right(Asked("?", accept), answer) is is_right


def test_a_question_that_no_rule_can_judge_is_not_judged() -> None:
    with pytest.raises(ValueError, match="no rule"):
        right(Asked("How do I open a bank account?"), "Go there.")
