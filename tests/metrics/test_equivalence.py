"""Better, no better, or undecided: each against arithmetic done here."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from core.metrics import equivalence
from core.metrics.equivalence import needed, permutation, together, verdict


def test_p_is_the_rank_of_the_given_region() -> None:
    assert permutation([1.0] * 19) == pytest.approx(0.05)
    assert permutation([1.0] * 18 + [-1.0]) == pytest.approx(0.10)
    assert permutation([0.0]) == 1.0  # as good is not better


def test_p_is_uniform_where_nothing_differs() -> None:
    source = np.random.default_rng(1)
    values = [permutation(source.normal() - source.normal(size=19)) for _ in range(2000)]
    assert np.mean(np.array(values) <= 0.05) == pytest.approx(0.05, abs=0.015)


def test_teachings_are_put_together_by_student() -> None:
    values = [3.0, 5.0, 10.0]
    overall = together(values)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert overall is not None
    assert (overall.low, overall.value, overall.high) == pytest.approx((low, 6.0, high))
    assert together(values[:1]) is None


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([10.0, 11.0, 12.0], "Over 3 teachings it is better by 11.0 points (8.5 to 13.5)."),
        ([-1.0, 0.0, 1.0], "Over 3 teachings it is no better within 8 points: 0.0 points (−2.5 to 2.5)."),
        ([-10.0, 3.0, 12.0], "Undecided: 1.7 points (−25.8 to 29.1) over 3 teachings;"),
        ([30.0], "Undecided: 30.0 points over 1 teaching; at least 2 more teachings would decide."),
        ([30.0, 30.5], "Undecided: 30.2 points over 2 teachings; 1 more teaching would decide."),
    ],
)
def test_verdicts(values: list[float], says: str) -> None:
    assert verdict(values).startswith(says)


def test_as_many_more_as_would_decide_at_this_spread() -> None:
    values = [-10.0, 3.0, 12.0]
    more = needed(values)
    assert more is not None

    def ends(count: int) -> tuple[float, float]:
        return stats.t.interval(0.95, count - 1, loc=np.mean(values), scale=np.std(values, ddof=1) / np.sqrt(count))

    low, high = ends(3 + more)
    assert low > 0 or high < equivalence.MARGIN
    low, high = ends(3 + more - 1)
    assert low <= 0
    assert high >= equivalence.MARGIN
    assert needed([-200.0, 4.0, 212.0]) is None
    assert verdict([-200.0, 4.0, 212.0]).endswith("even 100 teachings would not decide.")
