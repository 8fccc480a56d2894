"""What unlearning changed, against numpy on the tensors themselves."""

from __future__ import annotations

import numpy as np
import pytest

from core.pipeline.weight_changes import changes
from tests.naive import Bench, randomize


def test_changes_are_norms_of_before_and_of_the_difference(bench: Bench) -> None:
    adapters = bench.adapters
    adapters.copy("before", "other")
    randomize(adapters, "other", seed=7)
    adapters.copy("before", "after")
    region = [c.name for c in adapters.cells][::3]
    adapters.set("after", {name: adapters.tensor("other", name).detach() for name in region})
    table = changes(adapters).set_index("name")
    assert list(table.index) == [c.name for c in adapters.cells]
    for name, row in table.iterrows():
        before, after = (adapters.tensor(a, str(name)).detach().double().numpy() for a in ("before", "after"))
        assert row["norm_before"] == pytest.approx(np.linalg.norm(before))
        if name in region:
            assert row["norm_change"] == pytest.approx(np.linalg.norm(after - before))
            assert row["max_change"] == pytest.approx(np.abs(after - before).max())
            assert row["norm_change"] > 0
        else:
            assert (row["norm_change"], row["max_change"]) == (0.0, 0.0)
