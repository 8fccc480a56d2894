from __future__ import annotations

import numpy as np
import pandas as pd

from core.regions import Located
from dashboard.widgets import selection
from dashboard.widgets.selection import Selection


def test_another_unit_selects_the_same_tensors() -> None:
    source = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "name": [f"t{i}" for i in range(420)],
            "cos": source.normal(0.6, 0.2, 420).clip(-1, 1),
            "mag_unlearn": source.lognormal(-7, 1, 420),
        }
    )
    table["has_gradient"] = True
    for mu, sigma in source.uniform(size=(30, 2)).round(3):
        rule = Located("quantile", float(mu), float(sigma))
        absolute = selection.converted(rule, "absolute", table)
        assert absolute.select(table) == rule.select(table)
        assert selection.converted(absolute, "quantile", table).select(table) == rule.select(table)
        chosen = Selection(absolute)
        assert selection.read(selection.write(chosen, table), table, Selection(Located())) == chosen
