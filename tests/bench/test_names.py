"""The benchmarks' command line."""

from __future__ import annotations

import pytest

from core.util.errors import UserError
from tests.bench.__main__ import measure


def test_a_benchmark_that_does_not_exist_gives_the_nearest() -> None:
    with pytest.raises(UserError, match="roofline"):
        measure(["rooflin"], print)
