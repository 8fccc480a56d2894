"""Bootstrap intervals: repeatable, as wide as theory says, and computed as one would by hand."""

from __future__ import annotations

import math
import time

import numpy as np
import pandas as pd
import pytest

from core.data.corpus import Example
from core.metrics import METRICS, Evidence, intervals
from tests.metrics.test_metrics import EXAMPLES, ROWS, evidence, members, tokens_of

__all__ = ["evidence"]


def test_samples_are_the_same_at_every_call_and_apart_in_other_streams() -> None:
    first = intervals.weights(9).copy()
    intervals.weights.cache_clear()
    assert (intervals.weights(9) == first).all()
    assert not (intervals.weights(9, 1) == first).all()
    assert first.shape == (intervals.DRAWS, 9)
    np.testing.assert_allclose(first.sum(axis=1), 1)
    np.testing.assert_allclose(first * 9, np.round(first * 9))


def test_interval_of_a_mean_is_as_wide_as_its_standard_error_says() -> None:
    values = np.random.default_rng(1).normal(50, 10, 400)
    pair = intervals.of_mean(values)
    assert pair is not None
    half = 1.96 * values.std() / math.sqrt(400)
    assert pair == pytest.approx([values.mean() - half, values.mean() + half], abs=0.15 * half)


def test_interval_holds_the_true_mean_about_as_often_as_it_promises() -> None:
    source, hits = np.random.default_rng(2), 0
    for _ in range(400):
        pair = intervals.of_mean(source.exponential(size=40))
        assert pair is not None
        hits += pair[0] <= 1 <= pair[1]
    assert 0.88 < hits / 400 < 0.98


def test_a_single_example_has_no_interval_and_nan_scores_neither() -> None:
    assert intervals.of_mean([3.0]) is None
    draws = np.zeros(1000)
    draws[:49] = np.nan
    assert intervals.interval(draws) == [0, 0]
    draws[:51] = np.nan
    assert intervals.interval(draws) is None


def resampled(count: int) -> list[list[int]]:
    """Return each sample's examples, one index an entry."""
    return [np.repeat(np.arange(count), np.round(row * count).astype(int)).tolist() for row in intervals.weights(count)]


def percentiles(values: list[float]) -> list[float]:
    return [float(v) for v in np.percentile(values, [2.5, 97.5])]


@pytest.mark.parametrize("voice", ["before", "after", "never"])
def test_interval_of_accuracy(evidence: Evidence, voice: str) -> None:
    score = METRICS["accuracy"].compute(evidence)
    ids = members("unlearn", "val")
    means = [np.mean([score.examples[voice][ids[k]] for k in sample]) for sample in resampled(len(ids))]
    assert score.intervals[voice]["unlearn/val"] == pytest.approx(percentiles(means), abs=1e-9)


def test_interval_of_perplexity_resamples_examples_not_tokens(evidence: Evidence) -> None:
    ids = members("retention", "train")
    each = [tokens_of(i, "logprob_after") for i in ids]
    scores = []
    for sample in resampled(len(ids)):
        every = [value for k in sample for value in each[k]]
        scores.append(math.exp(-sum(every) / len(every)))
    interval = METRICS["perplexity"].compute(evidence).intervals["after"]["retention/train"]
    assert interval == pytest.approx(percentiles(scores), abs=1e-9)


def test_interval_of_the_never_knew_score_resamples_all_three_accuracies_together(evidence: Evidence) -> None:
    ids = members("unlearn", "train")
    right = {
        v: [np.mean([100.0 * (r == 1) for r in tokens_of(i, f"rank_{v}")]) for i in ids]
        for v in ("before", "after", "never")
    }
    scores = []
    for sample in resampled(len(ids)):
        before, after, never = (np.mean([right[v][k] for k in sample]) for v in ("before", "after", "never"))
        scores.append(100 * (1 - abs(after - never) / (before - never)) if before > never else math.nan)
    intervals = METRICS["never_knew"].compute(evidence).intervals["after"]
    known = [s for s in scores if not math.isnan(s)]
    if len(known) < 950:
        assert "train" not in intervals
    else:
        assert intervals["train"] == pytest.approx(percentiles(known), abs=1e-9)


def test_every_interval_belongs_to_a_value_and_holds_it(evidence: Evidence) -> None:
    seen = 0
    for metric in METRICS.values():
        score = metric.compute(evidence)
        for voice, parts in score.intervals.items():
            for part, (low, high) in parts.items():
                seen += 1
                assert low - 1e-9 <= score.values[voice][part] <= high + 1e-9, (metric.name, voice, part)
    assert seen > 40


def test_a_part_without_recorded_examples_is_absent() -> None:
    table = pd.DataFrame(ROWS)
    table = table[~table["example"].isin(members("unlearn", "train"))]
    for name in ("accuracy", "perplexity", "never_knew"):
        score = METRICS[name].compute(Evidence(EXAMPLES, table, {}, {}, frozenset()))
        parts = set(score.values["after"])
        assert parts, name
        assert not {"unlearn/train", "train", "train/knowledge"} & parts


def test_intervals_of_seven_hundred_examples_take_a_fraction_of_a_second() -> None:
    examples = [Example(f"{s}/train/{n}", "", "", s, "train", "") for s in ("unlearn", "retention") for n in range(350)]
    source = np.random.default_rng(0)
    rows = pd.DataFrame({"example": np.repeat([e.id for e in examples], 20)})
    for voice in ("before", "after", "never"):
        rows[f"rank_{voice}"] = source.integers(1, 3, len(rows))
        rows[f"logprob_{voice}"] = -source.exponential(size=len(rows))
    intervals.weights.cache_clear()
    started = time.process_time()
    for name in ("accuracy", "perplexity", "never_knew"):
        assert METRICS[name].compute(Evidence(examples, rows, {}, {}, frozenset())).intervals
    assert time.process_time() - started < 2
