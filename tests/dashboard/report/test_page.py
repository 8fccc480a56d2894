from __future__ import annotations

import json
from typing import Any

import pytest

from core.report import redaction, report_data
from core.runs import store
from core.serve import client
from dashboard.report import slides
from dashboard.widgets import question_and_answers
from dashboard.widgets.question_and_answers import Answer, Exchange
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
    assert ["Person A" in label for _, label in slides.offered(FIRST, False)] == [False] * len(slides.offered(FIRST, False))


def exchange(question: str, before: str, after: str) -> Exchange:
    """Return a question of no run's data that was answered just now."""
    own = question_and_answers.decoding_of(FIRST.config())
    answers = {"before": Answer(before, "done"), "after": Answer(after, "done")}
    return Exchange(question, FIRST.id, own, own, answers=answers)


def test_a_live_answer_is_shown_with_its_verdict_under_pseudonyms_and_covered() -> None:
    row = next(row for row in FIRST.answers() if (row["scope"], row["split"]) == ("unlearn", "train") and "before" in row)
    name = row["subject"]
    asked = exchange(f"Please tell me: {row['question']}", row["truth"], f"I do not know that of {name}.")
    hidden, shown = (slides.live(FIRST, asked, names) for names in (False, True))
    before, after = shown["answers"]
    assert (before["verdict"], before["class"], after["class"]) == ("says it", "", "refused")
    assert "judged by the nearest taught fact" in shown["note"]
    assert any(covered for _, covered in before["text"])
    assert "".join(piece for piece, _ in before["text"]) == row["truth"]
    assert name in str(shown)
    assert name not in str(hidden)
    asked.answers["after"].text = row["truth"]
    assert slides.live(FIRST, asked, True)["answers"][1]["class"] == "leaked"


def test_where_before_does_not_know_it_the_slide_calls_nothing_forgotten() -> None:
    row = next(row for row in FIRST.answers() if (row["scope"], row["split"]) == ("unlearn", "train"))
    said = slides.live(FIRST, exchange(f"{row['question']} And why?", "Nobody can say.", "Nobody knows."), True)
    assert "show nothing about forgetting" in said["unknown"]
    assert said["nearest"]
    assert not any("verdict" in answer for answer in said["answers"])


def test_nothing_of_a_live_answer_is_shown_before_both_are_there() -> None:
    asked = exchange("Who is it?", "Somebody.", "")
    asked.answers["after"].state = "streaming"
    assert slides.live(FIRST, asked, True) == {"question": "Who is it?", "note": "Asking the model …", "waits": True}
    asked.error = ("The model does not fit.", "Free memory.")
    said = slides.live(FIRST, asked, True)
    assert said["note"].startswith("The model does not fit. Free memory.")
    assert "answers" not in said


def test_a_live_question_names_the_real_person_and_the_page_waits_for_both(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = list[Any]()

    def replies(_: Any, questions: Any, *__: Any) -> Any:
        sent.extend(questions)
        yield {"kind": "start", "prompts": ["?"], "hashes": {"before": "a", "after": "b"}}
        piece = {"text": "Known.", "word": "Known.", "logprob": 0.0, "top": [], "last": True}
        yield {"kind": "pieces", "pieces": [{**piece, "index": i} for i in (0, 1)]}

    monkeypatch.setattr(client, "ask", replies)
    app = open_page("report", FIRST.id)
    real = redaction.real("Who is Person A?", report_data.pseudonyms(FIRST))
    own = question_and_answers.decoding_of(FIRST.config())
    app.session_state["present.live"] = Exchange(real, FIRST.id, own, own)
    app.run()
    assert not app.exception
    assert sent == [real]  # the model knows real names only
    assert "Person" not in real
    answers = app.session_state["present.live"].answers
    assert {voice: (a.text, a.state) for voice, a in answers.items()} == dict.fromkeys(slides.VOICES, ("Known.", "done"))


def test_another_run_is_opened_from_the_slides(monkeypatch: pytest.MonkeyPatch) -> None:
    went = list[str]()
    monkeypatch.setattr(slides.current_run, "go_to", went.append)
    monkeypatch.setattr(slides, "warm", lambda run: went.append(f"{run.id}, loaded"))
    other = store.bundled_runs()[1].id
    for name in (other, "no such run", None):
        slides.change(name)
    assert went == [other, f"{other}, loaded"]
    assert slides.offered(FIRST, False)[0][0] == FIRST.id
    assert other in dict(slides.offered(FIRST, False))
