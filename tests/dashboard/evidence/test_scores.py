"""What the page Scores reads, and what it says of it."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from core.runs import asked
from core.runs.scores import Scores, Value
from dashboard.charts.palette import DARK, LIGHT
from dashboard.evidence import all_metrics, published, score_words, scores_table, seed_means, tradeoff
from dashboard.widgets import number_table
from tests.dashboard.conftest import MakeRun, Open, on_other_data
from tests.dashboard.scores_made import HOSTILE, accuracies, bundled, edit, measured, with_intervals

# -- reading -----------------------------------------------------------------------------------------------------------


def test_values_come_with_intervals_and_reasons() -> None:
    metrics = {
        "accuracy": {
            "values": {"after": {"unlearn/val": 60.0, "retention/val": 80.0}},
            "intervals": {"after": {"unlearn/val": [50.0, 64.0], "retention/val": [78.0, 84.0]}},
            "reasons": {"never": "it was not taught"},
        }
    }
    scores = Scores(metrics)
    u, r = scores.success("after", "unlearn", "val"), scores.success("after", "retention", "val")
    assert (u.value, u.low, u.high, u.half) == (40.0, 36.0, 50.0, 7.0)
    assert (r.value, r.low, r.high) == (80.0, 78.0, 84.0)
    mean = scores.average("after", "val")
    assert mean.value == 60.0
    assert mean.half == pytest.approx(math.sqrt(7.0**2 + 3.0**2) / 2)
    assert scores.value("accuracy", "never", "unlearn/val") == Value(reason="it was not taught")
    assert scores.value("rouge", "after", "unlearn/val").reason == "not measured in this run"
    assert scores.average("never", "val").reason == "it was not taught"
    assert scores.splits() == ["val"]


@pytest.mark.parametrize(
    "metrics",
    [
        "[]",
        '{"metrics": []}',
        '{"metrics": {"accuracy": []}}',
        '{"metrics": {"accuracy": {"values": [1]}}}',
        "{",
        '{"metrics": {"accuracy": {"values": {"after": {"unlearn/val": NaN, "retention/val": "9"}}, "reasons": 3}}}',
        (
            '{"metrics": {"accuracy": {"values": {"after": {"unlearn/val": 5}}, "intervals": {"after": '
            '{"unlearn/val": [9, 1]}}}}}'
        ),
    ],
)
def test_a_damaged_file_is_a_run_without_scores(metrics: str, make_run: MakeRun, open_page: Open) -> None:
    run = make_run("damaged")
    (run.path / "metrics.json").write_text(metrics)
    scores = Scores.read(run)
    assert scores.success("after", "retention", "val").value is None
    assert scores.success("after", "unlearn", "val").half is None
    assert not open_page("evidence", "damaged", part="Scores").exception


def test_published_numbers_are_those_of_the_paper() -> None:
    paper = published.read()
    assert paper.label == "published, 7B"
    memflex = [next(row for row in rows if row.name == "MemFlex").values for rows in paper.tables.values()]
    assert [row["unlearn_success"] for row in memflex] == [82.95, 100, 89.36, 99.34]
    assert [row["retention_success"] for row in memflex] == [81.8, 80.18, 78.17, 80.25]
    for name, rows in paper.tables.items():
        assert len(rows) == 9
        for row in rows:  # the paper's average is the mean of its own columns, but in one row, as printed
            mean = (row.values["unlearn_success"] + row.values["retention_success"]) / 2
            odd = (name, row.name) == ("Qwen1.5-7B, copyright", "before unlearning")
            off = 0.07 if odd else 0.02
            assert bool(row.note) == (odd or row.name == "MemFlex")
            assert row.values["average"] == pytest.approx(mean, abs=off + 1e-9)
    assert paper.cost[-1].values == {"seconds_per_step": 3.0, "memory_gb": 19.9}
    assert published.fitting("copyright") == "Llama-2-7B, copyright"
    assert published.fitting("my own data") == "Llama-2-7B, privacy"


# -- what is said ------------------------------------------------------------------------------------------------------


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
    assert said in score_words.verdict(accuracies(before, after, never), "val")


def test_the_verdict_names_loss_and_gibberish() -> None:
    said = score_words.verdict(accuracies(100, 55, 40, 80.0), "val")
    assert (
        "80 % of the answers about what was to be forgotten are gibberish (never taught: 10 %). That is no ignorance."
        in said
    )
    assert "stay fluent: 0 % are gibberish" in score_words.verdict(accuracies(100, 55, 40), "val")
    assert "19.0 points are lost: Retention Success 80.0 (before: 99.0; never taught: 30.0)" in score_words.verdict(
        accuracies(100, 55, 40), "val"
    )
    assert "There is no score on questions held out from unlearning" in score_words.verdict(Scores({}), "val")


def test_as_much_gibberish_as_of_a_model_that_never_knew_is_not_held_against_it() -> None:
    said = score_words.verdict(accuracies(100, 40, 40, 25.0, never_noise=25.0), "val")
    assert "25 % of the answers about what was to be forgotten are gibberish (never taught: 25 %)." in said
    assert "no ignorance" not in said


def test_answers_that_decline_are_told() -> None:
    assert "decline" not in score_words.verdict(accuracies(100, 20, 40), "val")
    assert score_words.verdict(accuracies(100, 20, 40, declined=90.0), "val").endswith(" 90 % decline to answer.")


SUCCESSES = ("Unlearn Success", "Retention Success")


@pytest.mark.parametrize(
    ("points", "front", "said"),
    [
        ([], 0, "The current run does not have both numbers."),
        (
            [("a", 50.0, 90.0)],
            0,
            "“a”: Unlearn Success 50.0 (never taught: 60.0) with Retention Success 90.0. There is no other run",
        ),
        (
            [("a", 50.0, 90.0), ("b", 50.0, 90.0)],
            2,
            "Both runs are on the front: no other is at least as good in both and better in one.",
        ),
        ([("a", 50.0, 90.0), ("b", 40.0, 80.0)], 1, "One of the 2 runs is on the front"),
    ],
)
def test_the_front_is_told(points: list[tuple[str, float, float]], front: int, said: str) -> None:
    assert score_words.best(points, front, SUCCESSES, 60.0).startswith(said)


def test_a_best_mean_beyond_ignorance_is_called_that() -> None:
    points = [("a", 60.5, 90.0), ("b", 89.3, 88.0)]
    assert "29.3 points beyond ignorance" in score_words.best(points, 2, SUCCESSES, 60.0)
    assert "beyond" not in score_words.best(points[:1] * 2, 2, SUCCESSES, 60.0)
    assert "beyond" not in score_words.best(points, 2, ("Never-knew score", "Retention Success"))


def test_by_answers_the_smaller_of_both_shares_decides() -> None:
    points = [("noisy", 20.0, 100.0), ("even", 60.0, 55.0)]
    assert "“noisy” is best in the mean of the two" in score_words.best(points, 2, SUCCESSES)
    assert "“even” is best in the smaller of the two: Forgotten 60.0, Kept 55.0." in score_words.best(
        points, 2, ("Forgotten", "Kept"), by=min
    )


@pytest.mark.parametrize(("other", "level"), [(60.3, 60.0), (70.0, None), (None, None)])
def test_a_level_of_ignorance_that_differs_in_the_decimals_is_one_level(
    monkeypatch: pytest.MonkeyPatch, other: float | None, level: float | None
) -> None:
    groups = [
        [SimpleNamespace(scores=SimpleNamespace(success=lambda *_, value=value: SimpleNamespace(value=value)))]
        for value in (60.0, other)
    ]
    monkeypatch.setattr(tradeoff, "grouped", lambda *_: groups)
    assert tradeoff.ignorance([], "val", tradeoff.SUCCESS) == level


def test_the_verdict_on_the_bundled_run_is_what_its_files_say() -> None:
    run = bundled()
    said, metrics = score_words.verdict(Scores.read(run), "val"), run.json("metrics.json")["metrics"]
    accuracy, counted = metrics["accuracy"], metrics["asked"]
    before, after, never = (100 - accuracy["values"][voice]["unlearn/val"] for voice in ("before", "after", "never"))
    gone = 100 * (after - before) / (never - before)
    assert f"rises from {before:.1f} to {after:.1f}; a model never taught has {never:.1f}: {gone:.0f} % of what" in said
    # Where the answers and the next words disagree by more than their intervals, both are said.
    low, high = accuracy["intervals"]["after"]["retention/val"]
    least, most = counted["intervals"]["after"]["retention/other/kept"]
    kept, n = counted["values"]["after"]["retention/other/kept"], counted["counts"]["after"]["retention/other/kept"]
    both = f"{accuracy['values']['after']['retention/val']:.1f} % is kept ({asked.KIND_NAMES['other']}). The answers to the "
    disagree = most < low or high < least
    assert (f"{both}same questions say {asked.in_words(kept, n)}" in said) == disagree
    assert ("is kept: Retention Success" in said) != disagree


# -- table -------------------------------------------------------------------------------------------------------------


def test_reference_rows_are_never_left_out_and_published_ones_always_labelled(make_run: MakeRun) -> None:
    runs = [measured(bundled()), measured(make_run("same")), measured(on_other_data(make_run("copied")))]
    table = scores_table.table(runs, "val", [], "Llama-2-7B, privacy", LIGHT)
    names = [row.name for row in table.rows]
    # The first two share theirs; the third is of other data.
    assert names.count("Before unlearning") == names.count("Never taught") + 1 == 3
    paper = [row for row in table.rows if "published" in row.kind]
    assert len(paper) == 9
    assert all(row.note.startswith("published, 7B") for row in paper)
    assert {row.name for row in paper if "scored on val" in row.note} == {"MemFlex"}
    odd = scores_table.published_rows("Qwen1.5-7B, copyright", LIGHT)[1]
    assert odd.note == "published, 7B; average as printed; that of 0 and 100 is 50"
    assert all(len(row.cells) == len(table.columns) for row in table.rows if row.cells)


def test_a_model_taught_on_r_only_is_one_more_reference(make_run: MakeRun) -> None:
    run = make_run("referred")

    def add(values: dict[str, Any]) -> None:
        accuracies = values["metrics"]["accuracy"]["values"]
        accuracies["retrained"] = {part: x + 1 for part, x in accuracies["never"].items()}

    edit(run, "metrics.json", add)
    names = [row.name for row in scores_table.table([measured(run)], "val", [], "Llama-2-7B, privacy", LIGHT).rows]
    assert names[1:5] == ["Before unlearning", "After unlearning", "Never taught", "Taught without U"]
    assert "Taught without U" in [column.name for column in all_metrics.table(Scores.read(run), "val").columns]


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
    table = scores_table.table([measured(run, HOSTILE)], "val", [], "Llama-2-7B, privacy", DARK)
    text = number_table.markup(table, DARK)
    assert "<img" not in text
    assert "&lt;img" in text
    assert "<small>±5.0</small>" in text
    assert "95 % interval" in text


def test_what_went_wrong_is_a_mark_and_not_an_error(make_run: MakeRun) -> None:
    run = make_run("diverged")
    edit(
        run,
        "unlearn.json",
        lambda values: values.update(stopped="diverged at step 9; the last checkpoint before it is kept"),
    )
    assert measured(run).trouble == "✖ diverged"
    assert measured(make_run("failed", "failed")).trouble == "✖ failed"
    picked = make_run("picked")
    edit(picked, "config.json", lambda values: values["unlearn"].update(result_step=4, picked_on="val"))
    assert measured(picked).trouble == "picked on val"
    assert "picked on val" in number_table.markup(
        scores_table.table([measured(picked)], "val", [], "Llama-2-7B, privacy", LIGHT), LIGHT
    )


def test_seeds_become_a_mean_with_an_interval(make_run: MakeRun) -> None:
    runs = [bundled(), make_run("one"), make_run("two"), make_run("again"), make_run("other")]
    for run, seed, less in zip(runs[1:4], (1, 2, 2), (3.0, 6.0, 50.0), strict=True):
        edit(run, "config.json", lambda values, seed=seed: values.update(seed=seed, name=f"seed {seed}"))

        def lower(values: dict[str, Any], less: float = less) -> None:
            after = values["metrics"]["accuracy"]["values"]["after"]
            values["metrics"]["accuracy"]["values"]["after"] = {part: x - less for part, x in after.items()}

        edit(run, "metrics.json", lower)
    edit(runs[4], "config.json", lambda values: values["unlearn"].update(steps=7))
    rows = seed_means.rows([measured(run, run.id) for run in runs], "val", LIGHT)
    assert [row.name for row in rows] == ["Over seeds", "memflex · located", "Never taught"]
    assert "3 seeds (0, 1, 2)" in rows[1].note
    u = 100 - bundled().json("metrics.json")["metrics"]["accuracy"]["values"]["after"]["unlearn/val"]
    half = 4.303 * 3 / math.sqrt(3)  # Student's t of two degrees of freedom; the standard deviation of u, u + 3, u + 6
    assert (rows[1].cells[0].text, rows[1].cells[0].small) == (f"{u + 3:.1f}", f"±{half:.1f}")
    assert seed_means.rows([measured(run) for run in runs[:1]], "val", LIGHT) == []
    assert seed_means.mean([Value(1.0), Value(reason="not there")]) == Value(reason="not there")
