"""General text and everyday choices of a run, in numbers and in one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from core.runs.collateral import collateral
from core.runs.scores import Scores

GENERAL = {
    "values": {"before": {"text": 70.12}, "after": {"text": 71.66}},
    "intervals": {"after": {"text": [60.0, 80.0]}},
}
CHOICES = {
    "values": {"before": {"questions": 100 * 59 / 62}, "after": {"questions": 100 * 58 / 62}},
    "examples": {
        voice: {str(n): 100.0 * (n < right) for n in range(62)} for voice, right in (("before", 59), ("after", 58))
    },
    "intervals": {"after": {"questions": [85.0, 99.0]}},
}


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [
        (
            {"general": GENERAL, "choices": CHOICES},
            "General text: perplexity 71.7, before 70.1; everyday choices 58 of 62, before 59.",
        ),
        ({"general": GENERAL}, "General text: perplexity 71.7, before 70.1."),
        ({"choices": CHOICES}, "Everyday choices 58 of 62, before 59."),
        ({"general": {"values": {"after": {"text": 71.66}}}}, "General text: perplexity 71.7."),
        ({"general": {"values": {"before": {"text": 70.12}}}}, ""),
        ({"general": "damaged", "choices": {"values": {"after": {"questions": "x"}}}}, ""),
        ({}, ""),
    ],
)
def test_both_are_said_beside_before(metrics: dict[str, Any], sentence: str) -> None:
    assert collateral(Scores(metrics)).sentence == sentence


def test_numbers_have_their_intervals_and_counts() -> None:
    measured = collateral(Scores({"general": GENERAL, "choices": CHOICES}))
    text, right = measured.perplexity["after"], measured.choices["after"]
    assert (text.value, text.low, text.high) == (71.66, 60.0, 80.0)
    assert (right.low, right.high, right.n) == (85.0, 99.0, 62)
    assert set(measured.perplexity) == set(measured.choices) == {"before", "after"}
    assert measured.perplexity["before"].low is None
