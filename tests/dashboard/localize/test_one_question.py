from __future__ import annotations

import html

from dashboard.charts.palette import LIGHT
from dashboard.localize import one_question
from tests.dashboard.conftest import MakeRun, Open, text_of


def test_the_first_question_that_was_known_word_for_word_is_shown_whatever_came_after() -> None:
    rows = [
        {"question": "a", "truth": "one", "before": "two", "after": "noise"},
        {"question": "b", "truth": "one", "before": " one\n", "after": "one"},
        {"question": "c", "truth": "one", "before": "one", "after": "gone"},
    ]
    assert one_question.chosen(rows) is rows[1]
    assert one_question.chosen(rows[:1]) is rows[0]
    assert one_question.chosen([{"question": "a", "before": "one"}]) is None


def test_what_a_model_said_stays_text() -> None:
    shown = one_question.markup({"question": "<b>q", "before": "<script>", "after": "<img>"}, "of <i>", LIGHT)
    assert not {"<b>", "<script>", "<img>", "<i>"} & {
        shown[i : shown.index(">", i) + 1] for i, c in enumerate(shown) if c == "<"
    }


def test_the_landing_page_says_which_question_it_shows(open_page: Open, make_run: MakeRun) -> None:
    run = make_run("mine")
    said = text_of(open_page("localize", "mine"))
    assert "questions to unlearn; the 64 counted are new ones" in said
    row = one_question.chosen([row for row in run.answers() if (row["scope"], row["split"]) == ("unlearn", "train")])
    assert row
    assert html.escape(row["question"]) in said


def test_a_run_without_answers_shows_its_cells_alone(open_page: Open, make_run: MakeRun) -> None:
    make_run("silent", without=("answers.jsonl",))
    app = open_page("localize", "silent")
    assert not app.exception
    assert "questions to unlearn" not in text_of(app)
