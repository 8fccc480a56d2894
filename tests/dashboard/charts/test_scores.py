"""The pictures of the page Scores, and its lists of costs, metrics and methods."""

from __future__ import annotations

import csv
import io
import json

import pandas as pd
import pytest

from core.data.corpus import SCOPES
from core.methods import METHODS
from core.metrics import verdicts
from core.metrics.verdict_rules import VERDICT_NAMES
from core.regions import REGIONS
from core.runs.scores import Scores
from dashboard.charts import stopping_points as stops_chart
from dashboard.charts import subjects as subjects_chart
from dashboard.charts import tradeoff, verdict_bars
from dashboard.charts.palette import DARK, LIGHT, Palette
from dashboard.charts.tradeoff import Point, Reference, Tradeoff
from dashboard.evidence import all_metrics, cost, one_subject, step_by_step
from dashboard.evidence import tradeoff as scores_tradeoff
from dashboard.widgets import method_list, number_table
from dashboard.widgets.plot import plain
from tests.dashboard.conftest import MakeRun
from tests.dashboard.scores_made import HOSTILE, bundled, edit, measured, some_points

# -- charts ------------------------------------------------------------------------------------------------------------


def test_the_front_is_what_nobody_beats() -> None:
    for seed in range(20):
        points = some_points(12, seed)
        beaten = {p.id for p in points for q in points if (q.x > p.x and q.y >= p.y) or (q.x >= p.x and q.y > p.y)}
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
    made = make_run("lacking")
    edit(
        made,
        "metrics.json",
        lambda values: values["metrics"].update(never_knew={"reasons": {"after": "nothing was taught"}}),
    )
    whole, lacking = measured(make_run("whole"), "whole"), measured(made, "lacking")
    assert scores_tradeoff.missing([whole, lacking], "val", scores_tradeoff.KNEW) == "“lacking” (nothing was taught)"


def test_a_mark_goes_with_the_point(make_run: MakeRun) -> None:
    run = make_run("diverged")
    edit(
        run,
        "unlearn.json",
        lambda values: values.update(stopped="diverged at step 9; the last checkpoint before it is kept"),
    )
    assert scores_tradeoff.points([measured(run, "mine")], "val", scores_tradeoff.SUCCESS)[0].name == "mine (✖ diverged)"


def test_the_never_taught_line_is_never_where_one_only_wanted_to_stop(make_run: MakeRun) -> None:
    run = make_run("stops at 40 %")
    edit(run, "unlearn.json", lambda values: values.update(target=40.0))
    result = run.json("unlearn.json")
    assert step_by_step.never_taught(result) == pytest.approx(100 - result["never_taught"])
    assert step_by_step.never_taught({"target": 40.0}) is None


def test_stopping_elsewhere_is_told_by_what_is_said_first() -> None:
    first = {"step": 1, "unlearn": 70.0, "retention": 99.0, "said_forgotten": 87.5, "said_kept": 100.0, "said_made_up": 50.0}
    first["said_asked"] = 24.0
    last = first | {"step": 2, "unlearn": 60.0, "said_forgotten": 100.0, "said_made_up": 25.0}
    assert step_by_step.in_words([first, last], 2, 2, 78.75, "train") == (
        "The result is step 2. Asked 24 train questions of each scope, it still says 0 to forget and 24 to keep. Of those "
        "to forget, 6 make something up. By the next word: Unlearn Success 40.0 (never taught: 78.8); Retention Success "
        "99.0."
    )
    assert step_by_step.in_words([first, last], 1, 2, None, "train") == (
        "Stopped at step 1 instead of 2. Asked 24 train questions of each scope, it still says 3 (0) to forget and 24 (24) "
        "to keep. Of those to forget, 12 (6) make something up. In brackets: the result. By the next word: Unlearn Success "
        "30.0, 10.0 points less; Retention Success 99.0, no change."
    )
    uncounted = {key: value for key, value in last.items() if key != "said_asked"}
    assert "still says 0 % to forget and 100 % to keep" in step_by_step.in_words([uncounted], 2, 2, None, "train")
    plain_check = {key: value for key, value in last.items() if "said" not in key}
    assert step_by_step.in_words([plain_check], 2, 2, None, "dev") == (
        "The result is step 2: on a fixed sample of the dev questions Unlearn Success 40.0; Retention Success 99.0."
    )


def test_labels_do_not_lie_over_each_other() -> None:
    points = some_points(60)
    corners = tradeoff.labels(points, points)
    assert 0 < len(corners) < 60
    lone = [Point("a", "left", 2.0, 50.0), Point("b", "to the right", 98.0, 50.0)]
    assert tradeoff.labels(lone, lone) == {"a": "top right", "b": "top left"}


def test_the_scatter_has_runs_references_front_and_bars() -> None:
    import plotly.graph_objects as go

    points = [Point("a", HOSTILE, 40.0, 90.0, (35.0, 44.0), (88.0, 93.0), True), Point("b", "b", 70.0, 60.0)]
    references = [
        Reference("before", 0, 100, "before"),
        Reference("never", 60, 30, "never"),
        Reference("GA", 97, 2, "published"),
    ]
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

    checks = step_by_step.checked(bundled().json("unlearn.json"))
    steps = [check["step"] for check in checks]
    fig = stops_chart.stops(steps, stops_chart.next_word(checks), 16, 28, 64.8, LIGHT)
    go.Figure(**plain(fig))
    assert list(fig.data[0].y) == [100 - check["unlearn"] for check in checks]
    asked = stops_chart.stops(steps, stops_chart.said(checks), 16, 28, None, DARK)
    go.Figure(**plain(asked))
    assert [list(trace.y) for trace in asked.data] == [
        [check[f"said_{what}"] for check in checks] for what in ("forgotten", "made_up", "kept")
    ]
    assert [a.text for a in fig.layout.annotations] == ["never taught, ✖", "the result", "stop here"]
    for words, step in zip(asked.layout.annotations, (28, 16), strict=True):
        at = min(range(len(steps)), key=lambda index: abs(steps[index] - step))
        assert all(abs(trace.y[at] - words.y) > 15 for trace in asked.data), "the words lie on a marker"
    frame = verdicts.of_run(bundled())
    rows = one_subject.said_of(frame, one_subject.worst(frame))
    go.Figure(**plain(subjects_chart.subjects(rows, rows[0].name, DARK)))
    counts = verdicts.counts(frame)
    bars = verdict_bars.bars(counts, VERDICT_NAMES, "leaked", LIGHT)
    go.Figure(**plain(bars))
    shown = {(part, y): x for trace in bars.data for part, y, x in zip(trace.customdata, trace.y, trace.x, strict=True)}
    for y, (scope, voice) in enumerate(verdict_bars.lines(counts)):
        for verdict in verdicts.OF_SCOPE[scope]:
            rate = counts[scope][verdict][voice]["value"]
            assert shown.get((f"{scope}.{verdict}", y), 0.0) == pytest.approx(rate)


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2)."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_every_verdict_is_seen_in_the_bars_and_their_legend(palette: Palette) -> None:
    cells = {scope: {verdict: {"after": {"n": 1.0, "of": 6.0}} for verdict in verdicts.OF_SCOPE[scope]} for scope in SCOPES}
    bars = verdict_bars.bars(cells, VERDICT_NAMES, "", palette)
    assert {trace.name for trace in bars.data} == set(VERDICT_NAMES.values())
    for trace in bars.data:
        fill, number = trace.marker.color, trace.insidetextfont.color
        assert contrast(fill, palette.background) >= 3, trace.name
        assert contrast(fill, number) >= 4.5, trace.name
    assert len({trace.marker.color for trace in bars.data}) == len(bars.data)


def test_what_is_said_of_each_subject_is_counted_by_hand() -> None:
    rows = [
        ("Ann", "unlearn", "leaked", "leaked", "forgotten"),
        ("Ann", "unlearn", "forgotten", "leaked", ""),
        ("Ann", "retention", "lost", "kept", ""),
        ("Bea", "unlearn", "refused", "leaked", "forgotten"),
    ]
    frame = pd.DataFrame(rows, columns=["subject", "scope", "verdict", "verdict_before", "verdict_retrained"])
    assert one_subject.worst(frame) == ["Ann", "Bea"]
    ann, bea = one_subject.said_of(frame, ["Ann", "Bea"])
    assert ann.said == {
        "unlearn": {"before": (2, 2), "after": (1, 2), "retrained": (0, 1)},
        "retention": {"before": (1, 1), "after": (0, 1)},
    }
    assert bea.said == {"unlearn": {"before": (1, 1), "after": (0, 1), "retrained": (0, 1)}}
    drawn = [trace.name for trace in subjects_chart.subjects([ann, bea], "Ann", LIGHT).data]
    assert "taught without U" in drawn
    assert "never taught" not in drawn


# -- cost, metrics, methods --------------------------------------------------------------------------------------------


def test_cost_is_seconds_by_steps_and_the_papers_stands_apart() -> None:
    mine, run_cost = measured(bundled()), cost.read(measured(bundled()))
    result = bundled().json("unlearn.json")
    assert run_cost.step == pytest.approx(result["seconds"] / result["steps"])
    assert run_cost.rate == pytest.approx(result["tokens"] / result["seconds"])
    rows = cost.table([mine], [run_cost]).rows
    assert [row.name for row in rows if not row.cells] == ["published, one A100-40G"]
    assert all(row.note == "published, one A100-40G" for row in rows[2:])
    empty = cost.Cost(None, None, None, None, "")
    assert "was not recorded" in cost.in_words([mine], [empty])
    assert all(cell.text == number_table.MISSING for cell in cost.cells(empty))


def test_metrics_that_are_missing_have_their_reason_and_new_ones_their_numbers() -> None:
    metrics = dict(bundled().json("metrics.json")["metrics"])
    metrics["rouge"] = {"unit": "%", "values": {}, "reasons": {"all": "there were no answers"}}
    metrics["of_tomorrow"] = {
        "unit": "bits",
        "values": {"after": {"unlearn/val": 0.01234, "unlearn/train": 9.0}},
        "intervals": {"after": {"unlearn/val": [0.01, 0.02]}},
    }
    del metrics["perplexity"]
    table = all_metrics.table(Scores(metrics), "val")
    rows = {row.name: row for row in table.rows}
    assert "Not available, because: there were no answers" in rows["rouge, %"].note
    assert "perplexity" not in rows
    assert "perplexity" in table.rows[-1].note
    index = [row.name for row in table.rows].index("of tomorrow, bits")
    after = table.rows[index + 1].cells[1]
    assert (after.text, after.small) == ("0.0123", "0.0100 to 0.0200")
    # The train part belongs to another split, and what is missing comes last.
    assert {row.kind for row in table.rows[index + 2 :]} == {"missing"}
    measured = {name for name, metric in metrics.items() if metric["values"].get("after")}
    assert table.rows[-1].name == "1 more, not measured in this run"
    assert all_metrics.in_words(table).startswith(f"{len(measured)} metrics with values")


def test_each_questions_values_leave_as_harmless_csv() -> None:
    run = bundled()
    rows = [{**row, "question": "=1+1"} if index == 0 else row for index, row in enumerate(run.answers())]
    lines = list(csv.DictReader(io.StringIO(all_metrics.per_example(Scores.read(run), rows))))
    values = run.json("metrics.json")["metrics"]
    assert len(lines) == len(rows)
    assert lines[0]["question"] == "'=1+1"
    for metric in ("accuracy", "rouge", "perplexity"):
        measured = values[metric]["examples"]["after"]
        said = {line["example"]: line[f"{metric} after"] for line in lines}
        assert {example for example, value in said.items() if value} == set(measured) & set(said)
        assert {example: float(said[example]) for example in measured} == pytest.approx(measured, abs=1e-6)


def test_every_method_is_listed_in_a_group_and_can_be_found() -> None:
    names = method_list.grouped(METHODS)
    assert sorted(names) == sorted(METHODS)
    groups = [method_list.group(METHODS[name]) for name in names]
    assert groups == sorted(groups, key=list(method_list.GROUPS).index)
    assert method_list.group(METHODS["memflex"]) == "paper"
    assert method_list.group(METHODS["never-taught"]) == "own"
    assert method_list.group(METHODS["ce-u"]) == "since"
    assert "memflex" in method_list.label(METHODS, "memflex")
    for kind in (*METHODS.values(), *REGIONS.values()):
        assert method_list.matches(kind, kind.name)
        assert method_list.in_words(kind)
    assert method_list.matches(METHODS["ce-u"], "2503.01224 cross")
    assert not method_list.matches(METHODS["ce-u"], "2503.01224 refusal")
