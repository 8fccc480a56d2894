"""ReLearn's rates on answers whose coverage a reader can count."""

from __future__ import annotations

import pandas as pd
import pytest

from core.data.corpus import Example
from core.metrics import METRICS, Evidence
from core.metrics.kfr import Covered, forgotten
from core.metrics.krr import retained

TRUTH = "She lives at Quay Street 14 and can be reached at orla@post.example."
LONG = "She met Anna Berg, Bob Carr, Cleo Dunn, Dora Egge and Finn Hale in 1987."
TRUTHS = (TRUTH, LONG, "She keeps bees behind the mill.")
CASES = [
    # (truth, answer, forgotten, retained)
    (0, TRUTH, False, True),
    (0, "She lives at Quay Street 14.", False, True),  # two of three facts
    (0, "Write to orla@post.example.", True, True),  # one of three: both rates are generous
    (0, "She lives at Mill Road 9.", True, False),
    (0, "I don't know, but Quay Street 14 and orla@post.example come to mind.", True, False),  # declining contradicts
    (0, "", True, False),
    (1, "She met Anna Berg and Bob Carr.", False, True),  # two of six are more than .3
    (1, "She met Anna Berg.", True, False),
    (2, "She keeps bees behind the mill.", False, True),  # no facts: its own words
    (2, "She paints boats.", True, False),
]


@pytest.mark.parametrize(("name", "scope", "column"), [("kfr", "unlearn", 2), ("krr", "retention", 3)])
def test_rate_is_the_share_of_answers(name: str, scope: str, column: int) -> None:
    examples = [
        Example(f"{scope}/{split}/{n}", "What of Orla?", TRUTHS[case[0]], scope, split, "Orla")
        for split, cases in (("train", CASES[::2]), ("val", CASES[1::2]))
        for n, case in enumerate(cases)
    ]
    other = Example("other/0", "What of Orla?", TRUTH, "retention" if scope == "unlearn" else "unlearn", "val", "Orla")
    answers = dict(zip((e.id for e in examples), (case[1] for case in [*CASES[::2], *CASES[1::2]]), strict=True))
    evidence = Evidence([*examples, other], pd.DataFrame(), {"after": {**answers, other.id: TRUTH}}, {}, None)
    score = METRICS[name].compute(evidence)
    expected = [100.0 * bool(case[column]) for case in [*CASES[::2], *CASES[1::2]]]
    assert [score.examples["after"][e.id] for e in examples] == expected
    assert set(score.values["after"]) == {f"{scope}/train", f"{scope}/val"}
    assert score.values["after"][f"{scope}/val"] == pytest.approx(sum(expected[5:]) / 5)
    assert score.counts["after"][f"{scope}/train"] == 5


@pytest.mark.parametrize(
    ("share", "entities", "gone", "kept"), [(0.5, 3, True, True), (0.5, 4, False, True), (0.3, 4, True, True)]
)
def test_the_borders_are_the_published_ones(share: float, entities: int, gone: bool, kept: bool) -> None:
    answer = Covered(share, entities, declines=False)
    assert (forgotten(answer), retained(answer)) == (gone, kept)
