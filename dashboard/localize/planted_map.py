"""The map of one planting with its threshold: while that is dragged, the browser covers what lies below and says what lies
above it. Python hears nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from core.localization.plantings import UNLEARN
from core.models import cells
from dashboard.charts import planted
from dashboard.widgets.plot import columns_of, component, drawn, text

if TYPE_CHECKING:
    import pandas as pd

    from dashboard.charts.palette import Palette

HTML = """<div class="fs-box"><div class="fs-threshold"><span aria-hidden="true">Threshold</span>
<input type="range" min="0" step="1" aria-label="Threshold"><output aria-live="off"></output></div>
<div class="fs-plot"></div><div class="fs-tools"></div></div>
"""
_PART = component(Path(__file__).with_suffix(""), HTML)


def show(table: pd.DataFrame, palette: Palette, alt: str, facts: Sequence[tuple[str, str]]) -> None:
    """Show the map. table: what `planted.modules` returns; alt: what it shows, for those who do not see it."""
    x, y = cells.layout(table).positions(table.sort_values("place"))
    steps, many = planted.steps(table), int((table["role"] == UNLEARN).sum())
    _PART(
        key="planted_map",
        data={
            "drawn": drawn(
                planted.heatmap(table, palette),
                columns=text(columns_of(table[["place", "name", "layer", "module", "role", "value"]])),
            ),
            "name": "planted_map",
            "alt": alt,
            "facts": [list(pair) for pair in facts],
            "x": x.tolist(),
            "y": y.tolist(),
            "planted": many,
            "start": steps.at(many),
            **asdict(steps),
        },
    )
