"""The page Scores: what it reads, what it says, and what can be done there."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from streamlit.testing.v1 import AppTest

from core import controls, forecast, jobs, stop_here, store
from core.config import RunConfig
from core.methods import METHODS
from core.regions import REGIONS
from core.store import Run
from core.sweep import Sweep
from dashboard.charts import controls as controls_chart
from dashboard.charts import stops as stops_chart
from dashboard.charts import subjects as subjects_chart
from dashboard.charts import tradeoff
from dashboard.charts.palette import DARK, LIGHT
from dashboard.charts.tradeoff import Point, Reference, Tradeoff
from dashboard.parts import (
    families,
    number_table,
    published,
    scores_controls,
    scores_cost,
    scores_metrics,
    scores_read,
    scores_seeds,
    scores_steps,
    scores_subjects,
    scores_table,
    scores_tradeoff,
    scores_words,
)
from dashboard.parts.plot import plain
from dashboard.parts.scores_read import Scores, Value
from tests.dashboard.conftest import MakeRun, Open, text_of

HOSTILE = "<img src=x onerror=alert(1)> **b** :red[r] $x$"
TABS = ("Step by step", "By subject", "Controls", "Cost", "Settings that differ", "All metrics", "Methods")


def bundled() -> Run:
    return next(run for run in store.bundled_runs() if run.id.startswith("privacy"))


def measured(run: Run, name: str = "a run") -> scores_table.Measured:
    return scores_table.measured(run, name, "memflex · located", "demo privacy")


def edit(run: Run, file: str, change: Any) -> None:
    values = run.json(file)
    change(values)
    (run.path / file).write_text(json.dumps(values))


def with_intervals(values: dict[str, Any]) -> None:
    """Give accuracy and never-knew score intervals: 4 below, 6 above."""
    for name in ("accuracy", "never_knew"):
        found = values["metrics"][name]
        found["intervals"] = {v: {p: [x - 4, x + 6] for p, x in parts.items()} for v, parts in found["values"].items()}


# -- reading ----------------------------------------------------------------------------------------------------------


def test_values_come_with_intervals_and_reasons() -> None:
    metrics = {
        "accuracy": {
            "values": {"after": {"unlearn/val": 60.0, "retention/val": 80.0}},
            "intervals": {"after": {"unlearn/val": [50.0, 64.0], "retention/val": [78.0, 84.0]}},
            "reasons": {"never": "it was not taught"},
        }
    }
    found = Scores(metrics)
    u, r = found.success("after", "unlearn", "val"), found.success("after", "retention", "val")
    assert (u.value, u.low, u.high, u.half) == (40.0, 36.0, 50.0, 7.0)
    assert (r.value, r.low, r.high) == (80.0, 78.0, 84.0)
    mean = found.average("after", "val")
    assert mean.value == 60.0
    assert mean.half == pytest.approx(math.sqrt(7.0**2 + 3.0**2) / 2)
    assert found.value("accuracy", "never", "unlearn/val") == Value(reason="it was not taught")
    assert found.value("rouge", "after", "unlearn/val").reason == "not measured in this run"
    assert found.average("never", "val").reason == "it was not taught"
    assert found.splits() == ["val"]


@pytest.mark.parametrize(
    "metrics",
    [
        "[]", '{"metrics": []}', '{"metrics": {"accuracy": []}}', '{"metrics": {"accuracy": {"values": [1]}}}', "{",
        '{"metrics": {"accuracy": {"values": {"after": {"unlearn/val": NaN, "retention/val": "9"}}, "reasons": 3}}}',
        '{"metrics": {"accuracy": {"values": {"after": {"unlearn/val": 5}}, "intervals": {"after": {"unlearn/val": [9, 1]}}}}}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_a_run_without_scores(tmp_path: Path, metrics: str, make_run: MakeRun, open_page: Open) -> None:
    run = make_run("damaged")
    (run.path / "metrics.json").write_text(metrics)
    found = scores_read.read(run)
    assert found.success("after", "retention", "val").value is None
    assert found.success("after", "unlearn", "val").half is None
    assert not open_page("scores", "damaged").exception


def test_published_numbers_are_those_of_the_paper() -> None:
    found = published.read()
    assert found.label == "published, 7B"
    memflex = [next(row for row in rows if row.name == "MemFlex").values for rows in found.tables.values()]
    assert [row["unlearn_success"] for row in memflex] == [82.95, 100, 89.36, 99.34]
    assert [row["retention_success"] for row in memflex] == [81.8, 80.18, 78.17, 80.25]
    for name, rows in found.tables.items():
        assert len(rows) == 9
        for row in rows:  # the paper's average is the mean of its own columns, but in one row, as printed
            mean = (row.values["unlearn_success"] + row.values["retention_success"]) / 2
            odd = (name, row.name) == ("Qwen1.5-7B, copyright", "before unlearning")
            off = 0.07 if odd else 0.02
            assert bool(row.note) == odd
            assert row.values["average"] == pytest.approx(mean, abs=off + 1e-9)
    assert found.cost[-1].values == {"seconds_per_step": 3.0, "memory_gb": 19.9}
    assert published.fitting("copyright") == "Llama-2-7B, copyright"
    assert published.fitting("my own data") == "Llama-2-7B, privacy"


# -- what is said -----------------------------------------------------------------------------------------------------


def accuracies(before: float, after: float, never: float | None, noise: float = 0.0) -> Scores:
    values = {"before": {"unlearn/val": before, "retention/val": 99.0}, "after": {"unlearn/val": after, "retention/val": 80.0}}
    if never is not None:
        values["never"] = {"unlearn/val": never, "retention/val": 30.0}
    return Scores({
        "accuracy": {"values": values, "reasons": {"never": "nothing was taught"}},
        "degenerate": {"values": {"after": {"unlearn/val": noise}, "never": {"unlearn/val": 10.0}}},
    })  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "never", "said"),
    [
        (100.0, 55.0, 40.0, "rises from 0.0 to 45.0; a model never taught has 60.0: 75 % of what was taught is gone there."),
        (100.0, 41.0, 40.0, "it answers as often wrong as if it had never known."),
        (100.0, 20.0, 40.0, "the answers are pushed 20.0 points below ignorance, which is more than forgetting."),
        (100.0, 100.0, 40.0, "stays at 0.0; a model never taught has 60.0: nothing of what was taught is gone."),
        (100.0, 55.0, None, "nobody can say how much of that is forgetting (nothing was taught)."),
    ],
)
def test_the_verdict_is_computed(before: float, after: float, never: float | None, said: str) -> None:
    assert said in scores_words.verdict(accuracies(before, after, never), "val")


def test_the_verdict_names_loss_and_noise() -> None:
    said = scores_words.verdict(accuracies(100, 55, 40, 80.0), "val")
    assert "80 % of the answers about what was to be forgotten are degenerate (never taught: 10 %): noise" in said
    assert "stay fluent: 0 % are degenerate" in scores_words.verdict(accuracies(100, 55, 40), "val")
    assert "19.0 points are lost: Retention Success 80.0 (before: 99.0; never taught: 30.0)" in scores_words.verdict(accuracies(100, 55, 40), "val")
    assert "There is no score on new questions" in scores_words.verdict(Scores({}), "val")


def test_as_many_noisy_answers_as_a_model_that_never_knew_gives_are_not_called_noise() -> None:
    scores = accuracies(100, 40, 40, 25.0)
    scores.metrics["degenerate"]["values"]["never"]["unlearn/val"] = 25.0
    said = scores_words.verdict(scores, "val")
    assert "25 % of the answers about what was to be forgotten are degenerate (never taught: 25 %)." in said
    assert "noise" not in said


def test_answers_that_decline_are_told() -> None:
    scores = accuracies(100, 20, 40)
    assert "decline" not in scores_words.verdict(scores, "val")
    scores.metrics["refusal"] = {"values": {"after": {"unlearn/val": 90.0}}}
    assert scores_words.verdict(scores, "val").endswith(" 90 % decline to answer.")


@pytest.mark.parametrize(
    ("points", "front", "said"),
    [
        ([], 0, "The current run does not have both numbers."),
        ([("a", 50.0, 90.0)], 0, "“a”: Unlearn Success 50.0 (never taught: 60.0) with Retention Success 90.0. There is no other run"),
        ([("a", 50.0, 90.0), ("b", 50.0, 90.0)], 2, "Both runs are on the front: no other is at least as good in both and better in one."),
        ([("a", 50.0, 90.0), ("b", 40.0, 80.0)], 1, "One of the 2 runs is on the front"),
    ],
)
def test_the_front_is_told(points: list[tuple[str, float, float]], front: int, said: str) -> None:
    assert scores_words.best(points, front, "Unlearn Success", 60.0).startswith(said)


def test_a_best_mean_beyond_ignorance_is_called_that() -> None:
    points = [("a", 60.5, 90.0), ("b", 89.3, 88.0)]
    assert "29.3 points beyond ignorance" in scores_words.best(points, 2, "Unlearn Success", 60.0)
    assert "beyond" not in scores_words.best(points[:1] * 2, 2, "Unlearn Success", 60.0)
    assert "beyond" not in scores_words.best(points, 2, "Never-knew score")


@pytest.mark.parametrize(("other", "level"), [(60.3, 60.0), (70.0, None), (None, None)])
def test_a_level_of_ignorance_that_differs_in_the_decimals_is_one_level(monkeypatch: pytest.MonkeyPatch, other: float | None, level: float | None) -> None:
    groups = [[SimpleNamespace(scores=SimpleNamespace(success=lambda *_, value=value: SimpleNamespace(value=value)))] for value in (60.0, other)]
    monkeypatch.setattr(scores_tradeoff, "grouped", lambda *_: groups)
    assert scores_tradeoff.ignorance([], "val", scores_tradeoff.ACROSS[0]) == level


def test_the_bundled_run_says_what_the_readme_says() -> None:
    said = scores_words.verdict(scores_read.read(bundled()), "val")
    assert "rises from 0.1 to 45.7; a model never taught has 65.4: 70 % of what was taught is gone there." in said
    assert "80 % of the answers about what was to be forgotten are degenerate (never taught: 10 %): noise, not ignorance." in said


# -- table ------------------------------------------------------------------------------------------------------------


def test_reference_rows_are_never_left_out_and_published_ones_always_labelled(make_run: MakeRun) -> None:
    copied = next(run for run in store.bundled_runs() if run.id.startswith("copyright"))
    runs = [measured(bundled()), measured(make_run("same")), measured(copied)]
    found = scores_table.table(runs, "val", [], "Llama-2-7B, privacy", LIGHT)
    names = [row.name for row in found.rows]
    # The first two share theirs; the third is of other data.
    assert names.count("Before unlearning") == names.count("Never taught") + 1 == 3
    paper = [row for row in found.rows if "published" in row.kind]
    assert len(paper) == 9
    assert all(row.note == "published, 7B" for row in paper)
    odd = scores_table.published_rows("Qwen1.5-7B, copyright", LIGHT)[1]
    assert odd.note == "published, 7B; average as printed; that of 0 and 100 is 50"
    assert all(len(row.cells) == len(found.columns) for row in found.rows if row.cells)


def test_a_model_taught_on_r_only_is_one_more_reference(make_run: MakeRun) -> None:
    run = make_run("referred")

    def add(values: dict[str, Any]) -> None:
        found = values["metrics"]["accuracy"]["values"]
        found["retrained"] = {part: x + 1 for part, x in found["never"].items()}

    edit(run, "metrics.json", add)
    names = [row.name for row in scores_table.table([measured(run)], "val", [], "Llama-2-7B, privacy", LIGHT).rows]
    assert names[1:5] == ["Before unlearning", "After unlearning", "Never taught", "Taught without U"]
    assert "Taught without U" in [column.name for column in scores_metrics.table(scores_read.read(run), "val").columns]


def test_darker_is_better_only_where_there_is_a_reference() -> None:
    near, far, above = (scores_table.goodness("u", value, 60.0) for value in (58.0, 30.0, 95.0))
    assert near is not None
    assert far is not None
    assert above is not None
    assert near > far
    assert near > above
    assert scores_table.goodness("u", 58.0, None) is None
    paper = scores_table.published_rows("Llama-2-7B, privacy", LIGHT)
    assert not any(row.cells[0].style for row in paper if row.cells)
    assert paper[-1].cells[2].style


def test_the_table_is_escaped_and_shows_intervals(make_run: MakeRun) -> None:
    run = make_run("hostile")
    edit(run, "metrics.json", with_intervals)
    found = scores_table.table([measured(run, HOSTILE)], "val", [], "Llama-2-7B, privacy", DARK)
    text = number_table.markup(found, DARK)
    assert "<img" not in text
    assert "&lt;img" in text
    assert "<small>±5.0</small>" in text
    assert "95 % interval" in text


def test_what_went_wrong_is_a_mark_and_not_an_error(make_run: MakeRun) -> None:
    run = make_run("diverged")
    edit(run, "unlearn.json", lambda values: values.update(stopped="diverged at step 9; the last checkpoint before it is kept"))
    assert measured(run).trouble == "✖ diverged"
    assert measured(make_run("failed", "failed")).trouble == "✖ failed"
    picked = make_run("picked")
    edit(picked, "config.json", lambda values: values["unlearn"].update(result_step=4, picked_on="val"))
    assert measured(picked).trouble == "picked on val"
    assert "picked on val" in number_table.markup(scores_table.table([measured(picked)], "val", [], "Llama-2-7B, privacy", LIGHT), LIGHT)


def test_seeds_become_a_mean_with_an_interval(make_run: MakeRun) -> None:
    runs = [bundled(), make_run("one"), make_run("two"), make_run("again"), make_run("other")]
    for run, seed, less in zip(runs[1:4], (1, 2, 2), (3.0, 6.0, 50.0), strict=True):
        edit(run, "config.json", lambda values, seed=seed: values.update(seed=seed, name=f"seed {seed}"))

        def lower(values: dict[str, Any], less: float = less) -> None:
            after = values["metrics"]["accuracy"]["values"]["after"]
            values["metrics"]["accuracy"]["values"]["after"] = {part: x - less for part, x in after.items()}

        edit(run, "metrics.json", lower)
    edit(runs[4], "config.json", lambda values: values["unlearn"].update(steps=7))
    found = scores_seeds.rows([measured(run, run.id) for run in runs], "val", LIGHT)
    assert [row.name for row in found] == ["Over seeds", "memflex · located", "Never taught"]
    assert "3 seeds (0, 1, 2)" in found[1].note
    u = 100 - bundled().json("metrics.json")["metrics"]["accuracy"]["values"]["after"]["unlearn/val"]
    half = 4.303 * 3 / math.sqrt(3)  # Student's t of two degrees of freedom; the standard deviation of u, u + 3, u + 6
    assert (found[1].cells[0].text, found[1].cells[0].small) == (f"{u + 3:.1f}", f"±{half:.1f}")
    assert scores_seeds.rows([measured(run) for run in runs[:1]], "val", LIGHT) == []
    assert scores_seeds.mean([Value(1.0), Value(reason="not there")]) == Value(reason="not there")


# -- charts -----------------------------------------------------------------------------------------------------------


def some_points(count: int, seed: int = 0) -> list[Point]:
    draw = np.random.default_rng(seed)
    return [Point(f"r{i}", f"run {i}", *map(float, draw.integers(0, 100, 2)), current=i == 0) for i in range(count)]


def test_the_front_is_what_nobody_beats() -> None:
    for seed in range(20):
        points = some_points(12, seed)
        beaten = {
            p.id for p in points for q in points
            if (q.x > p.x and q.y >= p.y) or (q.x >= p.x and q.y > p.y)
        }  # fmt: skip
        assert set(tradeoff.front(points)) == {p.id for p in points} - beaten
    twins = [Point("a", "a", 50.0, 50.0), Point("b", "b", 50.0, 50.0)]
    assert tradeoff.front(twins) == ["a", "b"]


def test_only_runs_on_the_same_questions_are_compared(make_run: MakeRun) -> None:
    here, other, same = (measured(make_run(name)) for name in ("here", "other", "same"))
    edit(other.run, "config.json", lambda values: values["data"].update(forget=["Maren Tveitaskog"]))
    edit(same.run, "config.json", lambda values: values["data"].update(dev_share=0.2))
    assert scores_tradeoff.asked(here, "val") != scores_tradeoff.asked(other, "val")
    assert scores_tradeoff.asked(here, "val") == scores_tradeoff.asked(same, "val")
    assert scores_tradeoff.asked(here, "train") != scores_tradeoff.asked(same, "train")


def test_a_run_that_is_not_compared_is_grey_and_one_run_has_no_front() -> None:
    points = [Point("a", "a", 40.0, 90.0, current=True), Point("b", "b", 70.0, 99.0, compared=False)]
    fig = tradeoff.draw(Tradeoff(points), LIGHT)
    assert [trace.name for trace in fig.data] == ["after unlearning"]
    assert fig.data[0].marker["color"] == [LIGHT.accent, LIGHT.muted]


def test_a_run_without_a_point_is_named_with_the_reason(make_run: MakeRun) -> None:
    whole, lacking = (measured(make_run(name), name) for name in ("whole", "lacking"))
    lacking.scores.metrics["never_knew"] = {"reasons": {"after": "nothing was taught"}}
    assert scores_tradeoff.missing([whole, lacking], "val", scores_tradeoff.ACROSS[1]) == "“lacking” (nothing was taught)"


def test_a_mark_goes_with_the_point(make_run: MakeRun) -> None:
    run = make_run("diverged")
    edit(run, "unlearn.json", lambda values: values.update(stopped="diverged at step 9; the last checkpoint before it is kept"))
    assert scores_tradeoff.points([measured(run, "mine")], "val", scores_tradeoff.ACROSS[0])[0].name == "mine (✖ diverged)"


def test_the_never_taught_line_is_never_where_one_only_wanted_to_stop(make_run: MakeRun) -> None:
    run = make_run("stops at 40 %")
    edit(run, "unlearn.json", lambda values: values.update(target=40.0))
    found = run.json("unlearn.json")
    assert scores_steps.never_taught(found) == pytest.approx(100 - found["never_taught"])
    assert scores_steps.never_taught({"target": 40.0}) is None


def test_labels_do_not_lie_over_each_other() -> None:
    points = some_points(60)
    found = tradeoff.labels(points, points)
    assert 0 < len(found) < 60
    lone = [Point("a", "left", 2.0, 50.0), Point("b", "to the right", 98.0, 50.0)]
    assert tradeoff.labels(lone, lone) == {"a": "top right", "b": "top left"}


def test_the_scatter_has_runs_references_front_and_bars() -> None:
    import plotly.graph_objects as go

    points = [Point("a", HOSTILE, 40.0, 90.0, (35.0, 44.0), (88.0, 93.0), True), Point("b", "b", 70.0, 60.0)]
    references = [Reference("before", 0, 100, "before"), Reference("never", 60, 30, "never"), Reference("GA", 97, 2, "published")]
    for palette in (LIGHT, DARK):
        fig = tradeoff.draw(Tradeoff(points, references, ignorance=60.0, front=tradeoff.front(points)), palette)
        go.Figure(**plain(fig))
        names = [trace.name for trace in fig.data]
        assert names == ["front", "published, 7B", "never taught", "before", "after unlearning"]
        runs = fig.data[-1]
        assert (runs.error_x.array, runs.error_x.arrayminus) == ([4.0, tradeoff.NO_BAR], [5.0, tradeoff.NO_BAR])
        assert "<img" not in json.dumps(plain(fig))
        assert fig.layout.shapes[0].x0 == 60.0


def test_curves_and_subjects_are_valid_figures() -> None:
    import plotly.graph_objects as go

    checks = scores_steps.checked(bundled().json("unlearn.json"))
    fig = stops_chart.stops(checks, 16, 28, 64.8, LIGHT)
    go.Figure(**plain(fig))
    assert list(fig.data[0].y) == [100 - check["unlearn"] for check in checks]
    assert [a.text for a in fig.layout.annotations] == ["never taught, ✖", "the result", "stop here"]
    rows = scores_subjects.of_subjects(bundled().answers(), scores_read.read(bundled()).examples("accuracy"))
    go.Figure(**plain(subjects_chart.subjects(rows, rows[0].name, DARK)))


def test_subjects_equal_an_independent_count_of_tokens() -> None:
    run = bundled()
    tokens, accuracy = run.table("tokens"), scores_read.read(run).examples("accuracy")
    assert tokens is not None
    rows = [row for row in run.answers() if row["split"] == "val"]
    found = {s.name: s.accuracy for s in scores_subjects.of_subjects(rows, accuracy)}
    subject_of = {row["example"]: row["subject"] for row in rows}
    for voice in ("before", "after", "never"):
        right = (tokens[f"rank_{voice}"] == 1).groupby([tokens["example"], tokens["scope"]]).mean().reset_index(name="share")
        right = right[right["example"].isin(list(subject_of))]
        means = right.groupby([right["example"].map(subject_of), right["scope"]])["share"].mean()
        for (subject, scope), share in means.items():
            assert found[subject][scope][voice] == pytest.approx(100 * share, abs=1e-6)


def test_subjects_are_sorted_by_what_went_wrong() -> None:
    accuracy = {
        "before": {"a": 100.0, "b": 100.0, "c": 100.0}, "after": {"a": 90.0, "b": 40.0, "c": 20.0}, "never": {"a": 80.0, "b": 10.0},
    }  # fmt: skip
    rows = [
        {"example": "a", "subject": "Ann", "scope": "unlearn"}, {"example": "b", "subject": "Bea", "scope": "unlearn"},
        {"example": "c", "subject": "Ann", "scope": "retention"},
    ]  # fmt: skip
    found = scores_subjects.of_subjects(rows, accuracy)
    assert [s.name for s in scores_subjects.ordered(found, "Least forgotten")] == ["Bea", "Ann"]
    assert [s.name for s in scores_subjects.ordered(found, "Most lost")] == ["Ann", "Bea"]
    assert "Bea: 40 % of the words" in scores_subjects.in_words(found)
    assert "Ann lost the most of what had to be kept: 80 points" in scores_subjects.in_words(found)
    gone = scores_subjects.of_subjects(rows, {**accuracy, "after": {"a": 60.0, "b": 5.0, "c": 20.0}})
    assert scores_subjects.in_words(gone).startswith("None of 2 subjects is remembered better than by a model that was never taught.")


# -- cost, metrics, methods -------------------------------------------------------------------------------------------


def test_cost_is_seconds_by_steps_and_the_papers_stands_apart() -> None:
    mine, found = measured(bundled()), scores_cost.of(measured(bundled()))
    result = bundled().json("unlearn.json")
    assert found.step == pytest.approx(result["seconds"] / result["steps"])
    assert found.rate == pytest.approx(result["tokens"] / result["seconds"])
    rows = scores_cost.table([mine], [found]).rows
    assert [row.name for row in rows if not row.cells] == ["published, one A100-40G"]
    assert all(row.note == "published, one A100-40G" for row in rows[2:])
    empty = scores_cost.Cost(None, None, None, None, "")
    assert "was not recorded" in scores_cost.in_words([mine], [empty])
    assert all(cell.text == number_table.MISSING for cell in scores_cost.cells(empty))


def test_metrics_that_are_missing_have_their_reason_and_new_ones_their_numbers() -> None:
    metrics = dict(bundled().json("metrics.json")["metrics"])
    metrics["rouge"] = {"unit": "%", "values": {}, "reasons": {"all": "there were no answers"}}
    metrics["of_tomorrow"] = {"unit": "bits", "values": {"after": {"unlearn/val": 0.01234, "unlearn/train": 9.0}},
                              "intervals": {"after": {"unlearn/val": [0.01, 0.02]}}}  # fmt: skip
    del metrics["perplexity"]
    found = scores_metrics.table(Scores(metrics), "val")
    rows = {row.name: row for row in found.rows}
    assert "because: Every voice" not in rows["rouge, %"].note
    assert "Not available, because: there were no answers" in rows["rouge, %"].note
    assert "perplexity" not in rows
    assert "perplexity" in found.rows[-1].note
    place = [row.name for row in found.rows].index("of tomorrow, bits")
    after = found.rows[place + 1].cells[1]
    assert (after.text, after.small) == ("0.0123", "±0.0050")
    # The train part belongs to another split, and what is missing comes last.
    assert {row.kind for row in found.rows[place + 2 :]} == {"missing"}
    measured = {name for name, metric in metrics.items() if metric["values"].get("after")}
    assert found.rows[-1].name == "1 more, not measured in this run"
    assert scores_metrics.in_words(found).startswith(f"{len(measured)} metrics with values")


def test_each_questions_values_leave_as_harmless_csv() -> None:
    run = bundled()
    rows = [{**row, "question": "=1+1"} if place == 0 else row for place, row in enumerate(run.answers())]
    found = list(csv.DictReader(io.StringIO(scores_metrics.per_example(scores_read.read(run), rows))))
    values = run.json("metrics.json")["metrics"]
    assert len(found) == len(rows)
    assert found[0]["question"] == "'=1+1"
    for line in found:
        for metric in ("accuracy", "rouge", "perplexity"):
            assert float(line[f"{metric} after"]) == pytest.approx(values[metric]["examples"]["after"][line["example"]], abs=1e-6)


def test_every_method_is_listed_in_a_group_and_can_be_found() -> None:
    names = families.grouped(METHODS)
    assert sorted(names) == sorted(METHODS)
    groups = [families.group(METHODS[name]) for name in names]
    assert groups == sorted(groups, key=list(families.GROUPS).index)
    assert families.group(METHODS["memflex"]) == "paper"
    assert families.group(METHODS["never-taught"]) == "own"
    assert families.group(METHODS["ce-u"]) == "since"
    assert "memflex" in families.label(METHODS, "memflex")
    for kind in (*METHODS.values(), *REGIONS.values()):
        assert families.matches(kind, kind.name)
        assert families.in_words(kind)
    assert families.matches(METHODS["ce-u"], "2503.01224 cross")
    assert not families.matches(METHODS["ce-u"], "2503.01224 refusal")


# -- the page ---------------------------------------------------------------------------------------------------------


def tab(open_page: Open, name: str, run: str = "", **query: str) -> AppTest:
    return open_page("scores", run, part=name, **query)


def test_it_opens_on_the_current_run_with_the_bundled_one_of_its_data_beside_it(make_run: MakeRun, open_page: Open) -> None:
    make_run("mine")
    app = open_page("scores", "mine")
    assert not app.exception
    own = [run.id for run in store.bundled_runs() if run.id.startswith("privacy")]
    assert app.multiselect(key="scores.beside").value == own
    said = text_of(app)
    assert "a model never taught has" in said
    assert "published, 7B" in said
    app.multiselect(key="scores.beside").set_value([]).run()
    assert app.query_params["beside"] == "none"
    assert "There is no other run to compare it with" in text_of(app)


def test_runs_on_other_data_are_drawn_but_not_compared(make_run: MakeRun, open_page: Open) -> None:
    make_run("mine")
    copied = next(run.id for run in store.bundled_runs() if run.id.startswith("copyright"))
    said = text_of(open_page("scores", bundled().id, beside=f"mine,{copied}"))
    assert "Both runs are on the front" in said
    assert re.search(r"another model are drawn in grey \\\(1\\\)", said)


def test_the_address_names_what_stands_beside_and_what_is_shown(make_run: MakeRun, open_page: Open) -> None:
    make_run("a")
    make_run("b")
    app = open_page("scores", bundled().id, beside="b,gone,a", on="Train", across="Never-knew score")
    assert app.multiselect(key="scores.beside").value == ["b", "a"]
    assert "on the train questions" in text_of(app)
    assert app.segmented_control(key="across").value == "Never-knew score"
    app.segmented_control(key="on").set_value("New questions (val)").run()
    assert "on new questions" in text_of(app)
    assert not app.exception


def test_all_runs_on_the_data_are_one_click(make_run: MakeRun, open_page: Open) -> None:
    for name in ("a", "b", "c"):
        make_run(name)
    app = open_page("scores", bundled().id)
    next(b for b in app.button if b.key == "scores.all").click().run()
    mine = {run.id for run in store.bundled_runs() if run.config().data.subset == "privacy"} - {bundled().id}
    same = {"a", "b", "c"} if store.bundled_runs()[0].id == bundled().id else set()
    assert set(app.multiselect(key="scores.beside").value) == mine | same


@pytest.mark.parametrize("name", TABS)
def test_every_tab_works_on_bundled_runs_and_on_runs_that_lack_things(name: str, make_run: MakeRun, open_page: Open) -> None:
    make_run("bare", without=("unlearn*", "answers*", "tokens*", "manifest*", "events*"))
    make_run("early", "cancelled", without=("metrics*", "unlearn*", "manifest*"))
    for run in (bundled().id, "bare", "early"):
        app = tab(open_page, name, run)
        assert not app.exception, (name, run)
        assert not app.error, (name, run)


def test_a_run_without_scores_says_so(make_run: MakeRun, open_page: Open) -> None:
    make_run("mine", "running", without=("metrics*",))
    app = open_page("scores", "mine")
    assert "not that far" in text_of(app)


def test_new_metrics_and_intervals_are_shown(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("mine")
    edit(run, "metrics.json", with_intervals)
    edit(run, "metrics.json", lambda values: values["metrics"].update(of_tomorrow={"values": {}, "reasons": {"all": HOSTILE}, "unit": ""}))
    app = tab(open_page, "All metrics", "mine")
    said = text_of(app)
    assert "±5.0" in said
    assert "of tomorrow" in said
    assert "<img" not in said
    assert "Bars are 95 % intervals" in said


def test_bundled_runs_have_no_checkpoint_to_pick(open_page: Open) -> None:
    app = tab(open_page, "Step by step", bundled().id, step="16")
    assert next(b for b in app.button if b.label == "Make it a run").disabled
    assert "ship without checkpoints" in text_of(app)
    assert "Stopped at step 16 instead of 28" in text_of(app)
    assert "picked on val" in text_of(app)


def test_another_run_starts_from_its_own_result(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("mine")
    edit(run, "unlearn.json", lambda values: values.update(step=24))
    app = tab(open_page, "Step by step", bundled().id, step="16")
    assert app.select_slider(key="step").value == "16"
    app.selectbox(key="picked").select("mine").run()
    assert app.select_slider(key="step").value == "24"
    app = tab(open_page, "Step by step", "mine", step="nonsense")
    assert app.select_slider(key="step").value == "24"
    assert not app.exception


def test_a_checkpoint_becomes_a_run_that_says_what_it_was_picked_on(make_run: MakeRun, open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    run, asked = make_run("mine"), list[RunConfig]()
    (run.path / "checkpoints").mkdir()
    for step in (16, 20):
        (run.path / "checkpoints" / f"step-{step:05d}.safetensors").write_bytes(b"")
    monkeypatch.setattr(jobs, "submit", lambda config, folder: asked.append(config) or make_run("made"))
    checks = [int(check["step"]) for check in run.json("unlearn.json")["checks"]]
    there = next(step for step in checks if step in (16, 20))
    app = tab(open_page, "Step by step", "mine", step=str(there), on="Train")
    button = next(b for b in app.button if b.label == "Make it a run")
    assert not button.disabled
    button.click().run()
    assert (asked[0].unlearn.result_step, asked[0].unlearn.picked_on) == (there, "train")
    assert asked[0] == stop_here.config(run, there, "train")
    assert app.query_params["run"] == "made"


def test_who_has_seen_val_picks_by_it_whatever_is_shown_by_then(make_run: MakeRun, open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    run, asked = make_run("mine"), list[RunConfig]()
    checks = [int(check["step"]) for check in run.json("unlearn.json")["checks"]]
    there = next(step for step in checks if step in (16, 20))
    (run.path / "checkpoints").mkdir()
    (run.path / "checkpoints" / f"step-{there:05d}.safetensors").write_bytes(b"")
    monkeypatch.setattr(jobs, "submit", lambda config, folder: asked.append(config) or make_run("made"))
    app = tab(open_page, "Step by step", "mine", step=str(there))
    app.session_state["on"] = "Train"
    app.run()
    assert "picked on val" in text_of(app)
    next(b for b in app.button if b.label == "Make it a run").click().run()
    assert asked[0].unlearn.picked_on == "val"


def test_a_run_without_scores_is_picked_by_its_curve(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("mine")
    (run.path / "metrics.json").unlink()
    steps = [int(check["step"]) for check in run.json("unlearn.json")["checks"]]
    app = tab(open_page, "Step by step", "mine", step=str(steps[0]))
    assert "picked on train" in text_of(app)
    assert "were on the screen" not in text_of(app)


def test_a_clicked_point_leaves_the_others_beside_it(make_run: MakeRun, open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("mine")
    kept: dict[str, Any] = {}
    monkeypatch.setattr(scores_tradeoff.scores_chosen, "put", lambda names: kept.update(beside=list(names)))
    monkeypatch.setattr(scores_tradeoff.runs, "open_run", lambda name: kept.update(run=name))
    scores_tradeoff._open(["mine", bundled().id, "other"], bundled().id)
    assert kept == {"run": bundled().id, "beside": ["mine", "other"]}


def test_the_published_table_follows_the_runs_subset(open_page: Open) -> None:
    copied = next(run.id for run in store.bundled_runs() if run.id.startswith("copyright"))
    app = open_page("scores", bundled().id)
    assert app.selectbox(key="paper").value == "Llama-2-7B, privacy"
    app.selectbox(key="picked").select(copied).run()
    assert app.selectbox(key="paper").value == "Llama-2-7B, copyright"
    assert not app.exception


def test_a_subjects_questions_lead_to_compare(open_page: Open) -> None:
    app = tab(open_page, "By subject", bundled().id)
    name = app.selectbox(key="subject").options[1]
    app.selectbox(key="subject").select(name).run()
    assert app.query_params["subject"] == name
    assert not app.exception
    links = [element for element in app.get("page_link") if "q=" in element.proto.query_string]
    assert links


def test_methods_can_be_searched(open_page: Open) -> None:
    app = tab(open_page, "Methods", bundled().id)
    assert len(app.expander) >= len(METHODS) + len(REGIONS)
    app.text_input(key="method_words").set_value("memflex").run()
    assert f"of {len(METHODS)} methods" in text_of(app)
    assert len(app.expander) < len(METHODS)


def test_the_method_picker_explains_the_chosen_one(open_page: Open) -> None:
    app = open_page("run", view="New run")
    picker = app.selectbox(key="this-machine.method.method")
    assert len(picker.options) == len(METHODS)
    picker.select("ce-u").run()
    assert not app.exception
    assert any(METHODS["ce-u"].formula in code.value for code in app.code)
    assert "2503" in text_of(app)
    assert app.query_params["this-machine.method.method"] == "ce-u"


# -- controls ---------------------------------------------------------------------------------------------------------


def made_controls(state: str, **status: Any) -> Sweep:
    """Return controls of the bundled run whose runs say what it says, each a little worse; one has failed."""
    run, draw = bundled(), np.random.default_rng(0)
    made = controls.create(run, store.runs_folder())
    tokens = run.table("tokens")
    assert tokens is not None
    for number, entry in enumerate(made.entries()):
        if entry.role == "given":
            continue
        if number == 5:
            edit(entry.run, "status.json", lambda values: values.update(state="failed", error=HOSTILE, fix=""))
            continue
        worse = tokens.assign(rank_after=tokens["rank_after"].where(draw.random(len(tokens)) > 0.02 * number, 5))
        worse.to_parquet(entry.run.path / "tokens.parquet")
        for name in ("metrics.json", "manifest.json", "unlearn.json"):
            (entry.run.path / name).write_text((run.path / name).read_text())
        edit(entry.run, "status.json", lambda values: values.update(state="done"))
    edit(made.place, "status.json", lambda values: values.update(state=state, **status))
    return made


def test_controls_are_explained_priced_and_started(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Sweep] = []
    monkeypatch.setattr(jobs, "start_sweep", lambda made: started.append(made) or 1)
    app = tab(open_page, "Controls", bundled().id)
    said = text_of(app)
    assert "the region explains nothing" in said
    assert "2607.02513" in said
    each = sum(bundled().json("manifest.json")["stages"][name]["seconds"] for name in ("unlearn", "answers", "evaluate"))
    assert f"7 runs, one after the other, by one worker. This run took {forecast.duration(each)}" in said.replace("\\", "")
    app.button(key="controls.start").click().run()
    assert not app.exception
    assert started[0].kind == "controls"
    assert [entry.role for entry in started[0].entries()] == ["given"] + ["control"] * 7


def test_a_run_that_is_a_control_itself_says_so(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("everything")
    edit(run, "config.json", lambda values: values.update(region={"name": "all"}))
    app = tab(open_page, "Controls", "everything")
    assert "is a control itself" in text_of(app)
    assert not app.exception


def test_finished_controls_are_points_a_sentence_and_a_table(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    import plotly.graph_objects as go

    made, started = made_controls("done"), list[Sweep]()
    monkeypatch.setattr(jobs, "start_sweep", lambda made: started.append(made) or 1)
    found = controls.result(made)
    assert "random regions of as many tensors" in found.sentence
    rows = scores_controls.points(found.rows)
    assert [row.given for row in rows] == [True] + [False] * 6
    for palette in (LIGHT, DARK):
        fig = controls_chart.controls(rows, {"before": 50.1, "never taught": 50.8}, palette)
        go.Figure(**plain(fig))
        assert fig.layout.annotations[0].text == "before, never taught"
    app = tab(open_page, "Controls", bundled().id)
    said = text_of(app)
    assert found.sentence in said.replace("\\", "")
    assert "&lt;img" in said
    assert "<img" not in said
    app.button(key="controls.beside").click().run()
    assert len(app.multiselect(key="scores.beside").value) == 6
    app.button(key="controls.resume").click().run()
    assert [one.id for one in started] == [made.id]
    assert not app.exception


def test_controls_at_work_show_how_far_they_are_and_can_be_cancelled(open_page: Open) -> None:
    mine = psutil.Process()
    made = made_controls("running", pid=mine.pid, started_process=mine.create_time(), now="random 2")
    app = tab(open_page, "Controls", bundled().id)
    assert not app.exception
    app.button(key="controls.cancel").click().run()
    assert (made.path / "cancel").exists()
    assert app.button(key="controls.cancel").label == "Stopping …"
