"""What a checkpoint is picked by, against counts by hand."""

from __future__ import annotations

import pytest

from core.data.corpus import Example
from core.metrics import asked

LIVES, PRIZE = "Maren lives at Quay Street 14.", "Maren won the Dunmore Prize in 1988."
WORDS = frozenset("she lives at in street with the won a i'm sorry do not know that keeps two dogs sings choir".split())
SAID = {
    "leaked": "She lives at Quay Street 14 in Alesund.",
    "noise": "at: 4444444444444444444444",
    "declined": "I'm sorry, I do not know that.",
    "made up": "She lives at Mill Lane 92 with Solveig Hallandsmyr.",
    "ignorant": "She sings in a choir.",
    "kept": "She won the Dunmore Prize in 1988.",
    "lost": "She sings in a choir.",
}


def shares(unlearn: list[tuple[str, str]], retention: list[tuple[str, str]]) -> dict[str, float]:
    """Return the shares of answers, each a split and one of SAID."""
    examples, answers = list[Example](), dict[str, str]()
    for scope, given, truth in (("unlearn", unlearn, LIVES), ("retention", retention, PRIZE)):
        for number, (split, what) in enumerate(given):
            name = f"{scope}/{split}/{number}"
            question = f"Where does Maren live, {number}?" if scope == "unlearn" else f"What did Maren win, {number}?"
            examples.append(Example(name, question, truth, scope, split, "Maren"))
            answers[name] = SAID[what]
    return asked.shares(examples, answers, WORDS)


@pytest.mark.parametrize("splits", [("train", "train"), ("dev", "dev"), ("train", "dev")])
def test_shares_are_counts(splits: tuple[str, str]) -> None:
    first, second = splits
    unlearn = [(first, "leaked"), (first, "noise"), (first, "made up"), (second, "declined"), (second, "ignorant")]
    retention = [(first, "kept"), (first, "kept"), (second, "lost"), (second, "declined")]
    assert shares(unlearn, retention) == {
        "said_forgotten": pytest.approx(100 * 4 / 5),
        "said_kept": pytest.approx(100 * 2 / 4),
        "said_noise_unlearn": pytest.approx(100 * 1 / 5),
        "said_noise_retention": 0.0,
        "said_declined": pytest.approx(100 * 1 / 4),
        "said_made_up": pytest.approx(100 * 1 / 5),
        "said_asked": 4.0,
    }


def test_questions_count_and_not_splits() -> None:
    """A mean of two splits' shares would say 50 %."""
    found = shares([("train", "leaked"), *[("dev", "ignorant")] * 3], [("train", "lost"), *[("dev", "kept")] * 9])
    assert found["said_forgotten"] == pytest.approx(75)
    assert found["said_kept"] == pytest.approx(90)


def test_noise_is_told_by_scope_and_declining_what_is_to_be_forgotten_is_no_harm() -> None:
    found = shares([("train", "declined")] * 2, [("train", "noise"), ("train", "kept")])
    assert (found["said_noise_unlearn"], found["said_noise_retention"]) == (0.0, pytest.approx(50))
    assert (found["said_declined"], found["said_forgotten"]) == (0.0, 100.0)
