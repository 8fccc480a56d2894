"""Several seeds of the same settings as one row: their mean, and how sure it is. No Streamlit."""

from __future__ import annotations

import json
from collections.abc import Sequence

from core.metrics import intervals
from core.runs.overview import readable
from core.runs.scores import Value
from dashboard.charts.palette import Palette
from dashboard.evidence.scores_table import KEYS, Measured, cells, values
from dashboard.widgets.number_table import Row

SILENT = ("name", "seed", "preset", "format")
"""settings in which seeds of one experiment may differ"""


def rows(chosen: Sequence[Measured], split: str, palette: Palette) -> list[Row]:
    """Return a row for each settings that were run with several seeds, under a heading; nothing where there are none."""
    lines = []
    for group in grouped(chosen):
        never = {key: mean([values(run.scores, "never", split)[key] for run in group]) for key in KEYS}
        after = {key: mean([values(run.scores, "after", split)[key] for run in group]) for key in KEYS}
        seeds = ", ".join(str(seed_of(run)) for run in group)
        note = f"mean of {len(group)} seeds ({seeds}) of {group[0].name}"
        trouble = next((run.trouble for run in group if run.trouble), "")
        lines.append(
            Row(group[0].method, cells(after, never, palette), note, "after" if chosen[0] in group else "", trouble)
        )
        lines.append(Row("Never taught", cells(never, None, palette), f"mean of the same {len(group)}", "reference"))
    return [Row("Over seeds", note="±: 95 % interval of the mean over seeds (Student’s t)"), *lines] if lines else []


def grouped(chosen: Sequence[Measured]) -> list[list[Measured]]:
    """Return the runs that differ in nothing but their seed, where there are several."""
    groups: dict[str, dict[object, Measured]] = {}
    for run in chosen:
        settings = readable(run.run)
        if settings and run.scores.metrics:
            key = json.dumps({name: value for name, value in settings.items() if name not in SILENT}, sort_keys=True)
            groups.setdefault(key, {}).setdefault(settings.get("seed"), run)  # the same seed twice says nothing new
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def seed_of(run: Measured) -> object:
    """Return a run's seed."""
    return readable(run.run).get("seed")


def mean(values: Sequence[Value]) -> Value:
    """Return the mean over seeds with its 95 % interval; missing where any of them is, so that means stay comparable."""
    numbers = [value.value for value in values if value.value is not None]
    if len(numbers) < len(values):
        return Value(reason=next(value.reason for value in values if value.value is None))
    middle, half = intervals.t_interval(numbers)
    return Value(middle) if half is None else Value(middle, middle - half, middle + half)
