from __future__ import annotations

import random

import pandas as pd
import pytest

from core.regions.overlap import aligned, overlap, rank_correlation
from core.util.errors import UserError


def test_chance_is_what_random_regions_share() -> None:
    names, source = [f"t{i}" for i in range(40)], random.Random(0)
    measured = overlap(names[:12], names[6:16], 40)
    assert (measured.first, measured.second, measured.both) == (12, 10, 6)
    assert measured.jaccard == pytest.approx(6 / 16)
    drawn = [(set(source.sample(names, 12)), set(source.sample(names, 10))) for _ in range(20_000)]
    assert measured.chance == pytest.approx(sum(len(a & b) / len(a | b) for a, b in drawn) / len(drawn), abs=0.005)
    assert measured.as_large_by_chance == pytest.approx(sum(len(a & b) >= 6 for a, b in drawn) / len(drawn), abs=0.01)


def test_equal_regions_overlap_fully_and_an_empty_one_is_refused() -> None:
    assert overlap(["a", "b"], ["b", "a"], 9).jaccard == 1.0
    with pytest.raises(UserError, match="empty"):
        overlap([], ["a"], 9)


def test_2240_tensors_are_computed_exactly_and_fast() -> None:
    names = [f"t{i}" for i in range(2240)]
    measured = overlap(names[:700], names[350:1050], 2240)
    assert 0 < measured.chance < measured.jaccard < 1


def test_tables_are_aligned_by_name() -> None:
    first = pd.DataFrame({"name": ["a", "b", "c"], "cos": [1.0, 2.0, 3.0]})
    second = pd.DataFrame({"name": ["c", "b", "x"], "cos": [30.0, 20.0, 0.0]})
    one, two = aligned(first, second)
    assert one["name"].tolist() == two["name"].tolist() == ["b", "c"]
    assert two["cos"].tolist() == [20.0, 30.0]
    with pytest.raises(UserError, match="no tensor in common"):
        aligned(first, second.assign(name=["x", "y", "z"]))


def test_rank_correlation_sees_order_only() -> None:
    values = pd.Series([1.0, 2.0, 5.0, float("nan"), 9.0])
    assert rank_correlation(values, values**3) == pytest.approx(1.0)
    assert rank_correlation(values, -values) == pytest.approx(-1.0)
