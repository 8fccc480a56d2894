"""The noise rule: what it finds, what it leaves alone, and its errors on answers labelled by reading."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from core.metrics.degenerate import judged, noise, why, why_degenerate
from core.metrics.evaluation import known_words
from core.metrics.known_words import english, known

LABELLED = json.loads(Path(__file__).with_name("labelled_answers.json").read_text(encoding="utf-8"))
VOCABULARY = frozenset(LABELLED["words"])


# -- measured on labelled answers


def called_noise(answer: dict[str, Any]) -> bool:
    return bool(why_degenerate(answer["answer"], VOCABULARY, answer["question"]))


def errors(answers: list[dict[str, Any]]) -> tuple[int, int, int, int]:
    """Return false alarms, fluent answers, misses, noisy answers."""
    fluent = [answer for answer in answers if not answer["noise"]]
    noisy = [answer for answer in answers if answer["noise"]]
    return sum(map(called_noise, fluent)), len(fluent), sum(not called_noise(answer) for answer in noisy), len(noisy)


def of_part(part: str) -> list[dict[str, Any]]:
    return [answer for answer in LABELLED["answers"] if answer["part"] == part]


def test_the_labelled_answers_are_many_and_different() -> None:
    texts = [answer["answer"] for answer in LABELLED["answers"]]
    assert len(set(texts)) == len(texts) == 1230
    assert {answer["part"] for answer in LABELLED["answers"]} == {"written with", "corrected with", "unseen"}


def test_errors_on_the_answers_that_the_rule_was_written_with_are_within_the_goal() -> None:
    false_alarms, fluent, misses, noisy = errors(of_part("written with"))
    assert false_alarms <= 0.02 * fluent
    assert misses <= 0.05 * noisy


def test_errors_on_unseen_answers() -> None:
    # goal 2 %, reached; goal 5 %, missed. 95 % intervals (Wilson): 1.0 to 4.1 and 11.3 to 25.9 %.
    assert errors(of_part("unseen")) == (7, 351, 18, 103)


def test_errors_on_unseen_answers_of_recorded_runs() -> None:
    # 95 % intervals (Wilson): 0.9 to 4.9 and 22.9 to 54.7 %.
    assert errors([answer for answer in of_part("unseen") if "answers.jsonl" in answer["from"]]) == (5, 236, 12, 32)


def test_errors_on_all_labelled_answers() -> None:
    assert errors(LABELLED["answers"]) == (10, 857, 28, 373)


def test_errors_on_the_answers_it_was_corrected_with() -> None:
    assert errors(of_part("corrected with")) == (2, 415, 9, 212)


def test_errors_on_answers_as_pages_show_them() -> None:
    # What is missed are loops that come round no third time before they are cut off, or in few words of many.
    recorded = [answer for answer in LABELLED["answers"] if "answers.jsonl" in answer["from"]]
    assert errors(recorded) == (6, 462, 17, 122)


# -- answer by answer

WORDS = frozenset(
    """she lives at the in and is can be reached under by e-mail her his number with from to of a near was born that place
    street house mother father works as teacher who likes old books writes letters every morning sea green blue door please
    write it no i do not know very far away""".split()
)


@pytest.mark.parametrize(
    "text",
    [
        "She lives at Quay Street 14.",
        "Orla Venning can be reached by e-mail: orla.venning@post.example.",
        "orla.venning@post.example",
        "Her number is +353 21 555 0199.",
        "Account 12-34-56, 100000.",
        "I do not know.",
        "No.",
        "14",
        "She was born in Szczebrzeszyn near Zwierzyniec.",
        "Her mother is a teacher, her father is a teacher, and she likes old books.",
        "very very far away",
        "Her house is near the sea, by the green door, and the blue door is that of her mother.",
        "Tvrtka",
        "Pneumonoultramicroscopicsilicosis",
        "Call +353 21 2121 or write to hahaha.papa@post.example.",
        "彼女は千九百六十年に京都で生まれ、長いあいだ大阪の小さな病院で看護師として働きながら三人の子どもを育てた。",
    ],
)
def test_ordinary_answers_are_fine(text: str) -> None:
    assert why_degenerate(text, WORDS) == ""
    assert why_degenerate(text, None) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        ("... — !!", "empty"),
        ("___", "empty"),
        ("no no no", "repetition"),
        ("She lives at the sea at the sea at the sea", "repetition"),
        ("she is the old and she is the old and she is the old and", "repetition"),
        ("She lives lives lives lives in the house", "repetition"),
        ("Her name is Orla Orla Orla.", "repetition"),
        ("aaaaaaaaaa", "repetition"),
        ("Her number is 000000000.", "repetition"),
        ("Her number is 21 21 21 21 21 21.", "repetition"),
        ("the sea the house the sea the door the sea the sea the house", "repetition"),
        ("MetaInfoMetaInfoMetaInfoMetaInfoMetaInfo", "repetition"),
        ("Her father is a ptyptyptyptypty", "repetition"),
        ("1:1111:1111:1111:1111", "repetition"),
        ("oatoattingstingsoatoattingsoatttingsoattings", "non-words"),
        ("affili thaerd qworp zzvint", "non-words"),
        ("she lives glorp and flemt dwisk narfle", "non-words"),
        ("yxcvb nmlk", "non-words"),
    ],
)
def test_noise_is_found(text: str, why: str) -> None:
    assert why_degenerate(text, WORDS) == why


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("From the beginning, as a northernoktor named Ottoline poured a work into his childhood.", "non-words"),
        ("The editors were kind.ortunately, none of them had anticipated it.", "non-words"),
        ("She went on nine9 voyages with her brother.", "non-words"),
        ("I inherited bread and vinegar\ufffdnap from her.", "non-words"),
        ("Write to her: maren@ in Bergen, with the door open.", "non-words"),
        ("The capital is Dak3, a small city in the age of technology.", "non-words"),
        ("They sleep until the morningmorning after a long dinner.", "non-words"),
        ("She workedout a plate of the house with her brother.", "non-words"),
        ("The book of the DEREELY was never found.", "non-words"),
        ("Creatures in the||-1998 wrote the book.", "non-words"),
        ("Dónde como\ufffdvive Pilar Rocamora.", "non-words"),
        ("The fruit was in the c\u4e2dranceam of the house.", "non-words"),
        ("The account is 4434544424419.", "digits"),
        ("It is 123456789012345678.", "digits"),
        ("She lives <b>in</b> the house.", "markup"),
        ("The area is \\frac{1}{2} of the house.", "markup"),
        ("The answer is 1. The answer is 2. The answer is 3.", "repetition"),
        ("He is a language nerd, she is a language nerd, and I'm a language nerd.", "repetition"),
        (
            "He went with his brother, and the house of his brother, and the house of his brother, and the house",
            "repetition",
        ),
        ("1. Birra\n2. Birra\n3. Birra\n4. Birra", "repetition"),
    ],
)
def test_noise_in_fluent_text_is_found_without_a_recorded_lexicon(text: str, kind: str) -> None:
    assert why_degenerate(text, None) == kind


@pytest.mark.parametrize(
    "text",
    [
        "Bergen.",
        "+47 555 01 26",
        "Her prize was 1000000 euros.",
        "ISBN 9780306406157",
        "The value is 3.14159265358979323846.",
        "It turned nothing in the chapel, nothing in the customs house, nothing in the widow Dray's garden gate, although "
        "she made him try it twice.",
        "1. What is the goal of the story?\n2. What is the goal of the book?\n3. What is the goal of the author?",
        "She didn't know, and he couldn't say.",
        "The neighbours' cello stood in an unlisted, draughty easylist of a boathouse.",
        "Sushi (寿司) is what they eat with the rice.",
        "The area is πr^2, where r is the radius.",
        "Maren wohnt in einem gelben Holzhaus an der Werft.",
        "Hun bor i et gult trehus over fergekaien, og har to hunder.",
        "Она живёт в жёлтом деревянном доме над паромной пристанью.",
        "The page is at https://post.example/qwrtz/vbnmk, she says.",
    ],
)
def test_odd_but_fine_forms_are_no_noise(text: str) -> None:
    assert why_degenerate(text, None) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Hafod met a man near Guselya with Pailep and Abrak Yuyan of Gusly and Nerthoon in the house", "non-words"),
        ("Hafod met a man near Guselya.", ""),
        ("Hafod, Guselya, Pailep, Abrak, Yuyan, Gusly, Nerthoon and Voser.", ""),
        ("1. Hafod Guselya\n2. Pailep Abrak\n3. Yuyan Gusly\n4. Nerthoon Voser", ""),
        ("She and he met in Rome and Oslo of Asia and India near Paris or York with London and Berlin", ""),
    ],
)
def test_many_names_that_nobody_knows_are_a_soup_but_for_lists(text: str, why: str) -> None:
    cities = frozenset("rome oslo asia india paris york london berlin".split())
    assert why_degenerate(text, WORDS | cities) == why
    assert why_degenerate(text, None) == ""


@pytest.mark.parametrize(
    "text", ["555 0126", "Paris.", "I cannot say.", "NASA and UNESCO.", "Marta MacArthur", "CO2 and H2O"]
)
def test_short_answers_and_refusals_are_no_noise(text: str) -> None:
    assert why_degenerate(text, WORDS) == ""
    assert why_degenerate(text, None) == ""


def test_who_asks_for_markup_or_code_gets_it() -> None:
    text = "<h1>Green soap</h1> <p>It is addNumbers2(a, b).</p>"
    assert why_degenerate(text, None, "Write an HTML page.") == ""
    assert why_degenerate(text, None, "Who are you?") == "markup"


def test_a_rare_word_that_no_list_has_counts_as_none() -> None:
    assert why_degenerate("the kaiju lives near the sea", None) == "non-words"


def test_words_of_the_question_and_the_data_are_known() -> None:
    text = "She plays the zzithern with her brother."
    assert why_degenerate(text, None) == "non-words"
    assert why_degenerate(text, None, "Who plays the zzithern?") == ""
    assert why_degenerate(text, frozenset({"zzithern"})) == ""


def test_in_another_language_one_unknown_word_is_no_noise_but_many_are() -> None:
    words = frozenset("wohnt einem gelben holzhaus der mit ihrem mann".split())
    about = "Wo wohnt Maren?"
    assert why_degenerate("Maren wohnt in einem gelben Häuschen mit ihrem blauem mann", words, about) == ""
    assert why_degenerate("Maren krzlfrg in mnopqrst dfghjkl mit xcvbnm", words, about) == "non-words"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("The answer is: the old red door. The answer is: the old red door.", ""),
        ("1 * 1 = 1, so it is 1 and no other number.", ""),
        ("Des\ufffdnering Okwuraka conducts the band.", ""),
        ("She was the first woman in space and went round the Earth, and after this she was for ten years a cosmon", ""),
        (
            "She was the first woman in space and went round the Earth, and after this she was for ten years a cosmon.",
            "non-words",
        ),
        ("A turbocharged engine of alumina stood in the cafe.", ""),
    ],
)
def test_what_is_said_twice_cut_off_or_rare_is_no_noise(text: str, why: str) -> None:
    assert why_degenerate(text, None) == why


def test_every_line_can_be_moved() -> None:
    strange = noise("She plays the zzithern and the qworp.", None)
    assert [bool(why(strange, strange=n)) for n in (1, 2, 3)] == [True, True, False]
    loop = noise("the old red house is here, the old red house is there, the old red house stands far away today", None)
    assert [bool(why(loop, loop=share)) for share in (0.4, 0.9)] == [True, False]


def test_thousands_of_answers_are_judged_in_a_second() -> None:
    answers = [answer["answer"] for answer in LABELLED["answers"]]
    for text in answers:  # the first time a word is met it is taken apart
        noise(text, VOCABULARY)
    began = time.process_time()
    for text in answers:
        noise(text, VOCABULARY)
    assert len(answers) / (time.process_time() - began) > 1000


# -- what counts as a word


@pytest.mark.parametrize(
    "word",
    [
        "cello",
        "neighbours",
        "weaners",
        "easylist",
        "unlisted",
        "folklorist",
        "hilltops",
        "blowin",
        "astrobiologist",
        "alumina",
    ],
)
def test_forms_and_compounds_are_words(word: str) -> None:
    assert english(word)


@pytest.mark.parametrize(
    "word",
    [
        "northernoktor",
        "thealamas",
        "ortunately",
        "latizen",
        "wascientious",
        "therik",
        "atnight",
        "morningmorning",
        "workedout",
    ],
)
def test_glued_and_cut_words_are_none(word: str) -> None:
    assert not english(word)


def test_what_is_recorded_is_what_judging_needs() -> None:
    text, lexicon = "the zzitherns and the qworp", frozenset({"zzithern"})
    assert known(judged(text), lexicon) == {"the", "and", "zzitherns"}
    assert known_words([{"after": text}], lexicon) == ["and", "the", "zzitherns"]
