from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from core.regions.overlap import Overlap
from core.runs import store
from dashboard.localize import against_run
from tests.dashboard.conftest import MakeRun, Open


def test_a_setting_that_an_older_file_lacks_is_its_default_and_no_difference(make_run: MakeRun) -> None:
    bundled, again = store.bundled_runs()[0], make_run("again")
    dataclasses.replace(bundled.config(), seed=5, name="again").save(again.path / "config.json")
    assert against_run.what_differs(bundled, again) == ["seed"]
    (again.path / "config.json").write_text("[]")
    assert against_run.what_differs(bundled, again) == ["an unreadable configuration"]


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (0.001, "More than chance"),
        (0.012, "Hard to tell from chance"),
        (0.049, "Hard to tell"),
        (0.3, "No more than chance"),
    ],
)
def test_what_is_neither_rare_nor_common_is_not_called_chance(p: float, said: str) -> None:
    assert against_run.verdict(Overlap(10, 10, 5, 40, 0.3, 0.15, p)).startswith(f"**{said}")


def test_ranks_leave_out_tensors_without_a_gradient(open_page: Open, make_run: MakeRun) -> None:
    table = store.bundled_runs()[0].table("localization")
    assert table is not None
    dead = table["factor"] == "A"
    for name, seed in (("one", 1), ("two", 2)):
        shuffled = table["mag_unlearn"].sample(frac=1, random_state=seed).to_numpy()
        changed = table.assign(mag_unlearn=pd.Series(shuffled).where(~dead, 0.0), has_gradient=~dead)
        changed.to_parquet(make_run(name).path / "localization.parquet")
    app = open_page("", "one", other="two", region="quantile:1:0")
    assert not app.exception
    correlation = next(m for m in app.metric if m.label == "Ranks: pull to forget").value
    assert abs(float(correlation)) < 0.2
