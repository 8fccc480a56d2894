"""Every metric against an independent computation from the same evidence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.data.corpus import Example
from core.metrics import METRICS, Evidence, Score
from core.metrics.never_knew import score as never_knew

VOICES = ("before", "after", "never")
EXAMPLES = [
    Example(f"{scope}/{split}/{n}", "Who?", "the quick brown fox", scope, split, "x")
    for scope in ("unlearn", "retention")
    for split in ("train", "val")
    for n in range(3)
]
PARTS = [("unlearn", "train"), ("unlearn", "val"), ("retention", "train"), ("retention", "val")]


def token_rows() -> list[dict[str, Any]]:
    """Return random ranks and log-probabilities, with 2 to 7 tokens an example; before knows most, never little."""
    source = np.random.default_rng(0)
    chance = {"before": 0.9, "after": 0.5, "never": 0.3}
    rows = []
    for number, example in enumerate(EXAMPLES):
        for position in range(2 + number % 6):
            row: dict[str, Any] = {"example": example.id, "position": position, "token": 5, "text": "a"}
            for voice in VOICES:
                row[f"rank_{voice}"] = 1 if source.random() < chance[voice] else int(source.integers(2, 50))
                row[f"logprob_{voice}"] = -float(source.exponential())
            rows.append(row)
    return rows


ROWS = token_rows()
ANSWERS = {
    "before": {e.id: "the quick brown fox" for e in EXAMPLES},
    "after": {e.id: ("the fox", "quick the fox", "affili affili affili")[i % 3] for i, e in enumerate(EXAMPLES)},
    "never": {e.id: "a brown dog" for e in EXAMPLES},
}
GENERAL = {"before": [-1.0, -2.0], "after": [-1.5, -2.5, -3.5], "never": [-0.5]}
LEXICON = frozenset("the quick brown fox a dog".split())


@pytest.fixture
def evidence() -> Evidence:
    return Evidence(EXAMPLES, pd.DataFrame(ROWS), ANSWERS, GENERAL, LEXICON)


def tokens_of(example: str, column: str) -> list[float]:
    return [row[column] for row in ROWS if row["example"] == example]


def members(scope: str, split: str) -> list[str]:
    return [e.id for e in EXAMPLES if (e.scope, e.split) == (scope, split)]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def assert_averages(score: Score, voice: str, expected: dict[str, float]) -> None:
    assert score.examples[voice] == pytest.approx(expected)
    for scope, split in PARTS:
        assert score.values[voice][f"{scope}/{split}"] == pytest.approx(mean([expected[i] for i in members(scope, split)]))


@pytest.mark.parametrize("voice", VOICES)
def test_accuracy(evidence: Evidence, voice: str) -> None:
    expected = {e.id: mean([100.0 * (r == 1) for r in tokens_of(e.id, f"rank_{voice}")]) for e in EXAMPLES}
    assert_averages(METRICS["accuracy"].compute(evidence), voice, expected)


@pytest.mark.parametrize("voice", VOICES)
def test_perplexity_of_answers(evidence: Evidence, voice: str) -> None:
    score = METRICS["perplexity"].compute(evidence)
    for example in EXAMPLES:
        alone = math.exp(-mean(tokens_of(example.id, f"logprob_{voice}")))
        assert score.examples[voice][example.id] == pytest.approx(alone)
    for scope, split in PARTS:
        every = [v for i in members(scope, split) for v in tokens_of(i, f"logprob_{voice}")]
        assert score.values[voice][f"{scope}/{split}"] == pytest.approx(math.exp(-mean(every)))


def rouge_l(truth: str, answer: str) -> float:
    """Return the F-measure of the longest common subsequence of words."""
    a, b = truth.split(), answer.split()
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    common = table[-1][-1]
    return 200.0 * common / (len(a) + len(b)) if common else 0.0


@pytest.mark.parametrize(
    "text", ["Она живёт в Казани", "她住在北京", "هي تعيش في القاهرة", "彼女は京都に住む", "She lives in Łódź"]
)
def test_rouge_reads_every_script(text: str) -> None:
    """rouge-score's own rule keeps a to z alone: an answer in another script would score 0 against itself."""
    from core.metrics.rouge import _rouge, recall

    assert _rouge(text, text) == pytest.approx(100.0)
    assert recall(text, text) == 1.0
    assert _rouge(text, "…") == recall(text, "…") == 0.0
    if text == "Она живёт в Казани":
        assert recall(text, "она в Самаре") == 0.5


@pytest.mark.parametrize("voice", VOICES)
def test_rouge(evidence: Evidence, voice: str) -> None:
    expected = {e.id: rouge_l(e.answer, ANSWERS[voice][e.id]) for e in EXAMPLES}
    assert_averages(METRICS["rouge"].compute(evidence), voice, expected)


def test_degenerate_share(evidence: Evidence) -> None:
    score = METRICS["degenerate"].compute(evidence)
    assert_averages(score, "after", {e.id: 100.0 * (i % 3 == 2) for i, e in enumerate(EXAMPLES)})
    assert set(score.values["before"].values()) == {0.0}


@pytest.mark.parametrize("voice", VOICES)
def test_perplexity_of_general_text(evidence: Evidence, voice: str) -> None:
    score = METRICS["general"].compute(evidence)
    assert score.values[voice]["text"] == pytest.approx(math.exp(-mean(GENERAL[voice])))


# -- never-knew


@pytest.mark.parametrize(
    ("before", "after", "never", "expected"),
    [
        (100, 50, 50, 100),  # as if never taught
        (100, 100, 50, 0),  # nothing forgotten
        (100, 75, 50, 50),
        (100, 25, 50, 50),  # as far below ignorance as half of the knowledge lay above it
        (100, 0, 50, 0),
        (80, 0, 60, -200),  # pushed far below ignorance
        (90, 0, 0, 100),  # knowledge tokens
    ],
)
def test_never_knew_score(before: float, after: float, never: float, expected: float) -> None:
    assert never_knew(before, after, never) == pytest.approx(expected)


@pytest.mark.parametrize("never", [50.0, 60.0])
def test_never_knew_needs_something_to_forget(never: float) -> None:
    assert math.isnan(never_knew(50.0, 10.0, never))


def test_means_of_the_same_numbers_in_another_order_are_the_same() -> None:
    assert math.isnan(never_knew(33.333333333333336, 10.0, 33.33333333333333))


def test_never_knew_of_a_run(evidence: Evidence) -> None:
    score = METRICS["never_knew"].compute(evidence)
    for split in ("train", "val"):
        ids = members("unlearn", split)
        for part, keep in ((split, lambda *_: True), (f"{split}/knowledge", lambda b, n: b == 1 and n != 1)):
            means = []
            for voice in VOICES:
                shares = []
                for example in ids:
                    ranks = [tokens_of(example, f"rank_{v}") for v in ("before", "never", voice)]
                    mine = [100.0 * (r == 1) for b, n, r in zip(*ranks, strict=True) if keep(b, n)]
                    shares += [mean(mine)] if mine else []
                means.append(mean(shares))
            before, after, never = means
            assert score.values["after"][part] == pytest.approx(100 * (1 - abs(after - never) / (before - never)))
            if part.endswith("knowledge"):
                assert (before, never) == (100, 0)


def test_never_knew_of_a_part_that_before_did_not_know_gives_the_reason() -> None:
    table = pd.DataFrame(ROWS)
    val = table["example"].isin(members("unlearn", "val"))
    table.loc[val, "rank_before"] = table.loc[val, "rank_never"]
    score = METRICS["never_knew"].compute(Evidence(EXAMPLES, table, ANSWERS, GENERAL, LEXICON))
    assert set(score.values["after"]) == {"train", "train/knowledge"}
    assert "val" in score.reasons["after"]


def test_never_knew_without_the_reference_gives_the_reason() -> None:
    table = pd.DataFrame(ROWS).drop(columns=["rank_never", "logprob_never"])
    evidence = Evidence(EXAMPLES, table, ANSWERS, GENERAL, LEXICON, {"never": "because so"})
    score = METRICS["never_knew"].compute(evidence)
    assert score.values == {}
    assert score.reasons == {"after": "because so"}


@pytest.mark.parametrize("name", ["accuracy", "perplexity", "rouge", "degenerate", "general"])
def test_missing_voice_carries_its_reason(name: str) -> None:
    table = pd.DataFrame(ROWS).drop(columns=["rank_never", "logprob_never"])
    rest = {v: ANSWERS[v] for v in ("before", "after")}
    general = {v: GENERAL[v] for v in ("before", "after")}
    score = METRICS[name].compute(Evidence(EXAMPLES, table, rest, general, LEXICON, {"never": "because so"}))
    assert set(score.values) == {"before", "after"}
    assert score.reasons["never"] == "because so"


def test_every_metric_is_listed_under_its_name() -> None:
    assert {name: metric.name for name, metric in METRICS.items()} == {name: name for name in METRICS}
    assert all(metric.help for metric in METRICS.values())
