from __future__ import annotations

import json
from typing import Any
from unittest.mock import Mock

import pytest

from core.report import report_data
from core.runs import store
from core.serve import client
from core.util.errors import UserError
from dashboard.report import slides
from tests.dashboard.conftest import MakeRun, Open, text_of

FIRST = store.bundled_runs()[0]


def test_it_opens_on_a_finished_run(open_page: Open, warmed: list[str]) -> None:
    app = open_page("report", FIRST.id)
    assert not app.exception
    assert app.title[0].value == "Show it, and let others check it"
    assert not app.warning
    assert "covered until a reader uncovers it" in text_of(app)
    assert {button.label for button in app.get("download_button")} >= {
        "Download report (HTML)",
        "Adapter",
        "card.json",
        "CSV",
        "Parquet",
        "LLM Comparator",
    }
    assert not any(button.disabled for button in app.get("download_button"))
    assert warmed == []  # the model is loaded when the slides are opened, not before


def test_redaction_is_in_the_address(open_page: Open) -> None:
    app = open_page("report", FIRST.id, redact="true")
    assert app.toggle(key="redact").value is True
    assert "covered until a reader uncovers it" not in text_of(app)


def test_an_unfinished_run_says_what_is_missing(open_page: Open, make_run: MakeRun) -> None:
    make_run("half", "cancelled", without=("answers.jsonl", "metrics.json", "manifest.json"), stage="unlearn")
    app = open_page("report", "half")
    assert not app.exception
    said = app.warning[0].value
    assert "not complete" in said
    assert "cancelled in stage unlearn" in said
    buttons = {button.label: button for button in app.get("download_button")}
    assert buttons["Adapter"].disabled
    assert buttons["LLM Comparator"].disabled
    assert not buttons["Download report (HTML)"].disabled


def test_verify_says_what_does_not_match(open_page: Open, make_run: MakeRun) -> None:
    app = open_page("report", FIRST.id)
    app.button(key="verify").click().run()
    assert "Everything that was checked matches." in text_of(app)
    run = make_run("changed")  # a copy without adapters
    (run.path / "metrics.json").write_text("{}")
    app = open_page("report", "changed")
    app.button(key="verify").click().run()
    assert "checks do not match" in text_of(app)
    assert "metrics\\.json is not what the manifest says" in text_of(app)
    (run.path / "region.json").write_text("{}")
    assert "do not match" not in text_of(app.run())  # that was said of other files


def test_slides_hold_the_answers_escaped(make_run: MakeRun) -> None:
    run = make_run("hostile")
    rows = [{**row, "after": "<script>1</script>"} for row in run.answers()]
    (run.path / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = slides.slides(str(run.path), slides.stamps(run), False)
    assert made.count('class="slide"') == 6
    assert "<script" not in made
    assert "&lt;script&gt;" in made


def test_names_are_pseudonyms_unless_somebody_wants_them(open_page: Open) -> None:
    app = open_page("report", FIRST.id)
    assert app.toggle(key="names").value is False
    name = next(iter(report_data.pseudonyms(FIRST)))
    stamp = slides.stamps(FIRST)
    hidden, shown = (slides.slides(str(FIRST.path), stamp, names) for names in (False, True))
    assert name not in hidden
    assert "Person A" in hidden
    assert name in shown
    live = {"run": FIRST.id, "question": f"Where does {name} live?", "note": "", "before": name.split()[0], "after": "?"}
    assert slides.live(FIRST, live, False)["question"] == "Where does Person A live?"
    assert slides.live(FIRST, live, False)["before"] == [["Person A", False]]
    told = slides.live(FIRST, {**live, "before": "At Lake Orsel."}, True)["before"]
    assert told == [["At ", False], ["Lake Orsel.", True]]  # a fact of hers
    assert slides.live(FIRST, live, True)["question"] == live["question"]


def test_a_live_question_is_answered_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = list[Any]()

    def replies(_: Any, questions: Any) -> Any:
        sent.extend(questions)
        yield {"kind": "pieces", "pieces": [{"index": 0, "text": "known"}, {"index": 1, "text": "gone"}]}

    spot = Mock()
    monkeypatch.setattr(client, "ask", replies)
    monkeypatch.setattr(slides.st, "empty", lambda: spot)
    asked: dict[str, Any] = {"question": "Who is Person A?", "note": slides.WAITING}
    slides.answer(FIRST, asked)
    assert sent == ["Who is Maren Tveitaskog?"]  # the model knows real names only
    assert (asked["before"], asked["after"]) == ("known", "gone")
    assert spot.empty.called  # between two replies the script can be interrupted

    def broken(*_: Any) -> Any:
        raise UserError("The model does not fit.", "Free memory.")

    monkeypatch.setattr(client, "ask", broken)
    asked = {"question": "Who?", "note": slides.WAITING}
    slides.answer(FIRST, asked)
    assert "before" not in asked
    assert asked["note"].startswith("The model does not fit. Free memory.")
