"""What is worked out from a few timed steps."""

from __future__ import annotations

import pytest

from core.config.stages import UnlearnConfig
from core.models.tokens import padded
from core.pipeline.supply import Supply
from core.plan import timing
from tests.naive import Bench


def test_a_range_is_as_wide_as_the_steps_differ_and_never_a_point() -> None:
    apart = timing.rate([1.0, 3.0], [10, 10])
    assert apart.bounds(100) == pytest.approx((10, 30))
    assert timing.rate([2.0, 2.0], [10, 10]).bounds(100) == pytest.approx((18, 22))
    assert timing.Rate([0.2]).bounds(100) == pytest.approx((18, 22))


def test_a_line_is_never_below_nothing() -> None:
    assert timing.line({1: 2.0, 5: 4.0}) == pytest.approx((1.5, 0.5))
    assert timing.line({4: 3.0}) == (3.0, 0.0)
    assert timing.line({2: 4.0, 4: 1.0}) == (4.0, 0.0)


def test_a_step_has_the_tokens_of_its_streams_padded_together(bench: Bench) -> None:
    config = UnlearnConfig(batch_size=1, retain_batch_size=1)
    short, long = sorted((bench.unlearn[0], bench.retention[0]), key=lambda m: len(m.ids))
    assert timing.mean_tokens(Supply([short], [long]), config, seed=0) == 2 * len(long.ids) == padded([[short, long]])
