"""lm-evaluation-harness from the page."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from core.jobs import lm_eval_harness
from core.runs.store import Run
from core.util import files
from dashboard.charts.palette import LIGHT
from dashboard.evidence import other_benchmarks
from dashboard.widgets import number_table
from tests.dashboard.conftest import MakeRun, Open, text_of


def test_tasks_are_asked_for_and_what_was_found_is_shown(
    make_run: MakeRun, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("mine")
    found = {"before": {"arc_easy": {"acc,none": 0.5}}, "after": {"arc_easy": {"acc,none": 0.25}, "<b>": {"acc": "x"}}}
    files.write_json(run.path / "harness.json", {"format": 1, "results": found})
    asked = []

    def start(run: Run, tasks: Sequence[str], voices: Sequence[str], limit: int | None) -> Run:
        asked.append((tasks, voices, limit))
        return run

    monkeypatch.setattr(lm_eval_harness, "start", start)
    app = open_page("evidence", "mine", part="Metrics")
    said = text_of(app)
    assert "arc_easy, acc" in said
    assert "0.250" in said
    assert "<b>," not in said
    app.text_input(key="harness.tasks").set_value("arc_easy, mmlu,").run()
    app.number_input(key="harness.limit").set_value(20).run()
    app.button(key="harness.start").click().run()
    assert asked == [(["arc_easy", "mmlu"], ("before", "after", "never"), 20)]
    assert not app.exception


def test_without_the_harness_it_is_said_how_to_install_it(
    open_page: Open, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("mine")
    monkeypatch.setattr(lm_eval_harness, "find_spec", lambda _: None)
    app = open_page("evidence", "mine", part="Metrics")
    app.button(key="harness.start").click().run()
    assert "not installed" in app.error[0].value
    assert not app.exception


@pytest.mark.parametrize("found", [{}, {"before": 3}, {"before": {"a": 7}}, {"other": {}}])
def test_what_cannot_be_read_is_passed_over(found: dict[str, object]) -> None:
    assert number_table.markup(other_benchmarks.table(found), LIGHT)  # type: ignore[arg-type]
