"""Rates and the time left, with a clock that the test moves."""

from __future__ import annotations

import pytest

from core.util import progress
from core.util.progress import Pace


class Clock:
    seconds = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.seconds)
    Clock.seconds = 100.0
    return Clock


def test_rate_and_time_left(clock: type[Clock]) -> None:
    pace = Pace()
    clock.seconds += 4
    assert pace.at(2, 10, "steps", tokens=60) == {
        "done": 2,
        "total": 10,
        "unit": "steps",
        "rate": 0.5,
        "left": 16.0,
        "tokens_per_second": 15.0,
    }
    clock.seconds += 4
    assert pace.at(8, 10, "steps", tokens=20) | {"left": 2.0, "rate": 1.0, "tokens_per_second": 10.0} == pace.at(
        8, 10, "steps"
    )


def test_before_anything_is_done_nothing_is_promised(clock: type[Clock]) -> None:
    assert Pace().at(0, 10, "steps") == {"done": 0, "total": 10, "unit": "steps", "rate": 0.0, "left": None}


@pytest.mark.parametrize("unit", ["steps", "answers"])
def test_what_is_counted_next_has_a_clock_of_its_own(clock: type[Clock], unit: str) -> None:
    pace = Pace()
    clock.seconds += 1000
    pace.at(5, 5, "answers", tokens=7)
    clock.seconds += 2
    assert pace.at(1, 4, unit) == {"done": 1, "total": 4, "unit": unit, "rate": 0.5, "left": 6.0}
