"""The Run page while a run goes on, and after it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from core.runs import store
from core.runs.store import Run
from dashboard.charts.curves import thinned
from dashboard.runs import event_log, watched_questions
from tests.dashboard.conftest import MakeRun, Open, text_of
from tests.dashboard.run_made import BAD, GONE, bars, said, watch, write_events


def test_a_running_run_shows_rate_time_memory_and_log(living: Run, open_page: Open) -> None:
    app = open_page("runs", "living", view="This run")
    assert not app.exception
    assert "431 tokens a second" in bars(app)
    assert "at most 1 min 47 s left for these steps" in bars(app)
    assert "Peak memory so far 2.6 GB" in said(app)
    assert BAD in app.code[0].value
    assert any(b.label == "Cancel" for b in app.button)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["teach", "preflight", "localize", "region", "unlearn", "answers", "evaluate"], False),
        (list(store.STAGES), True),
        (None, True),
        ("damaged", True),
    ],
)
def test_the_checklist_follows_what_the_worker_announced(names: Any, shown: bool, living: Run, open_page: Open) -> None:
    announced = [] if names is None else [{"t": 0.0, "kind": "stages", "names": names}]
    write_events(living, [*announced, *living.events()])
    app = open_page("runs", "living", view="This run")
    assert not app.exception
    assert "Make it forget" in said(app)
    assert ("Teach a second model all the rest" in said(app)) is shown
    assert ("Ask the second model" in said(app)) is shown


def test_watched_questions_show_the_last_two_rounds_or_a_chosen_one(living: Run, open_page: Open) -> None:
    write_events(living, [*living.events(), watch(8, "Nowhere.", "She paints.")])
    app = open_page("runs", "living", view="This run")
    shown = "".join(html.value for html in app.html)
    assert "step 4" in shown
    assert "step 8" in shown
    assert "Quay" not in shown
    app.select_slider(key="watched").set_value("step 4").run()
    shown = "".join(html.value for html in app.html)
    assert "Quay" in shown
    assert "before" in shown
    assert "Nowhere" not in shown
    assert "<img" not in shown
    assert not re.search(r"(?<!\\)<img", text_of(app))


def test_further_questions_are_counted_and_some_shown_as_what_they_are(living: Run, open_page: Open) -> None:
    samples = [{"scope": "unlearn", "question": f"Where is Bo {BAD}?", "answer": f"At Elm Road {BAD}."}, "no object"]
    account = {"unlearn": 120, "retention": 118, "dropped": 7, "unanswered": 2, "samples": samples}
    write_events(living, [*living.events(), {"t": 2.0, "kind": "widened", **account}])
    app = open_page("runs", "living", view="This run")
    assert not app.exception
    told = "Widened by 120 U and 118 R questions that the taught model answered itself. Left out: 7 that stand in val or dev"
    assert told in said(app)
    assert not re.search(r"(?<!\\)<img", text_of(app))
    shown = "".join(html.value for html in app.html)
    assert "At Elm Road &lt;img" in shown
    assert "Where is Bo <img src=x onerror=alert(1)> **b**?" in said(app)


@pytest.mark.parametrize("samples", [None, 3, [], [{}], {"a": 1}])
def test_a_damaged_account_of_further_questions_hurts_nothing(living: Run, open_page: Open, samples: Any) -> None:
    write_events(living, [*living.events(), {"kind": "widened", "unlearn": BAD, "samples": samples}])
    app = open_page("runs", "living", view="This run")
    assert not app.exception
    assert "Widened by ? U and ? R questions" in said(app)


def test_a_link_opens_the_same_checkpoint(living: Run, open_page: Open) -> None:
    write_events(living, [*living.events(), watch(8, "Nowhere.", "She paints.")])
    app = open_page("runs", "living", view="This run", watched="step 4")
    assert app.select_slider(key="watched").value == "step 4"


def test_an_ended_run_shows_what_was_watched_from_its_result(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("mine")
    result = json.loads((run.path / "unlearn.json").read_text())
    rounds = [watch(0, "At Quay Street.", "She paints."), watch(4, "Elsewhere.", "She paints.")]
    result["watched"] = [{"step": row["step"], "answers": row["answers"]} for row in rounds]
    (run.path / "unlearn.json").write_text(json.dumps(result))
    app = open_page("runs", "mine", view="This run")
    assert "Elsewhere" in "".join(html.value for html in app.html)


def test_an_ended_run_opens_on_the_step_it_kept_against_before(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("mine")
    result = json.loads((run.path / "unlearn.json").read_text())
    rounds = [
        watch(0, "At Quay Street.", "P."),
        watch(4, "Almost.", "P."),
        watch(8, "Nowhere.", "P."),
        watch(12, "Noise.", "P."),
    ]
    result |= {"step": 8, "watched": [{"step": row["step"], "answers": row["answers"]} for row in rounds]}
    (run.path / "unlearn.json").write_text(json.dumps(result))
    app = open_page("runs", "mine", view="This run", watched="last two")  # a link from when it was still at work
    assert not app.exception
    shown = "".join(html.value for html in app.html)
    assert [word for word in ("Quay", "Almost", "Nowhere", "Noise") if word in shown] == ["Quay", "Nowhere"]
    app.select_slider(key="watched").set_value("step 12").run()
    assert "Noise" in "".join(html.value for html in app.html)


def test_only_the_last_attempt_is_watched() -> None:
    start = {"kind": "stage", "name": "unlearn", "state": "running"}
    again = watched_questions.rounds(None, [start, watch(0, "a", "b"), watch(4, "c", "d"), start, watch(0, "e", "f")])
    assert {step: answers[0]["text"] for step, answers in again.items()} == {0: "e"}


def test_damaged_rounds_are_passed_over() -> None:
    assert watched_questions.rounds(
        {"watched": [3, {"step": "x", "answers": []}, {"step": 4, "answers": [1, {"text": "t"}]}]}, []
    ) == {4: [{"text": "t"}]}


@pytest.mark.parametrize(
    ("state", "words", "button"),
    [
        ("queued", "Number 2 in the queue", "Cancel"),
        ("running", "You can close this page", "Cancel"),
        ("cancelled", "partial result is kept", "Resume"),
        ("failed", "The disk is full", "Resume"),
        ("done", "Done in", "Same again, changed"),
    ],
)
def test_each_state_says_what_it_is_and_what_can_be_done(
    state: str, words: str, button: str, make_run: MakeRun, open_page: Open
) -> None:
    errors = {"cancelled": "Cancelled; the partial result is kept.", "failed": "The disk is full."}
    make_run("mine", state, () if state == "done" else GONE, position=2, began=1.0, ended=90.0, error=errors.get(state, ""))
    app = open_page("runs", "mine", view="This run")
    assert not app.exception
    assert words in said(app)
    assert any(b.label == button for b in app.button)
    assert any(b.label == "Same again, changed" for b in app.button)
    assert app.get("download_button")


def test_a_broken_or_future_run_offers_the_form_of_others(make_run: MakeRun, open_page: Open) -> None:
    run = make_run("future")
    values = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps(values | {"format": 99}))
    app = open_page("runs", "future", view="This run")
    assert not app.exception
    assert "newer than this" in app.error[0].value
    app.segmented_control(key="view").set_value("New run").run()
    assert any(b.label == "Start" for b in app.button)
    (run.path / "config.json").write_text("{")
    assert "no readable config" in open_page("runs", "future", view="This run").error[0].value


def test_events_are_read_once_and_half_lines_wait(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"a": 1}\n{"b"', encoding="utf-8")
    follower = event_log.Follower(Run(tmp_path))
    assert follower.read() == [{"a": 1}]
    with path.open("a", encoding="utf-8") as file:
        file.write(': 2}\nbroken\n[1]\n{"ü": 3}\n' + "[" * 100_000 + '\n{"half": "\\ud83d"}\n')
    first = follower.read()[0]
    assert follower.read() == [{"a": 1}, {"b": 2}, {"ü": 3}, {"half": "\ufffd"}]
    assert follower.read()[0] is first
    path.unlink()
    path.write_text('{"new": 1}\n', encoding="utf-8")
    assert follower.read() == [{"new": 1}]
    path.unlink()
    assert follower.read() == []


def test_a_poll_of_a_long_run_reads_nothing_twice(living: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_events(living, [{"kind": "progress", "stage": "unlearn", "done": k, "forget_loss": 1.0} for k in range(5000)])
    follower = event_log.Follower(living)
    follower.read()
    monkeypatch.setattr(event_log, "json_objects", lambda lines: [pytest.fail("read again") for _ in lines])
    assert len(follower.read()) == 5000


def test_long_curves_are_thinned_but_keep_spikes_and_ends() -> None:
    points = [(float(x), 1.0) for x in range(5000)]
    points[1234] = (1234.0, 9.0)
    kept = thinned(points)
    assert len(kept) <= 600
    assert (1234.0, 9.0) in kept
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert kept == sorted(kept)
    assert thinned(points[:10]) == points[:10]
