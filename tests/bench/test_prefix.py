"""The benchmark of the frozen prefix: both kinds of step are made, and what is left out is left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.config.stages import UnlearnConfig
from tests.bench import prefix
from tests.bench.setup import Bench
from tests.naive import make_bench


def test_both_figures_are_measured(
    deep_tiny_of: Callable[[str], Path], tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = make_bench(deep_tiny_of("llama"), tiny_data)
    bench = Bench(tiny.adapters, tiny.loaded.tokenizer, tiny.unlearn, tiny.retention, [], tiny.words)
    with pytest.raises(RuntimeError, match="were not"):  # ten of four layers leave nothing out
        prefix.compared(bench, UnlearnConfig(), bench.unlearn, bench.retention)
    monkeypatch.setattr(prefix, "LAYERS", 2)
    found = prefix.compared(bench, UnlearnConfig(), bench.unlearn, bench.retention)
    assert set(found) == {"prefix_ratio", "prefix_first_visit"}
    assert all(value > 0 for value in found.values())
