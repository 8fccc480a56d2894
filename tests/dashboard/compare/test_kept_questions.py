"""The file with what a visitor asked: bounded, read as hostile, and gone with its run."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from core.runs import layout, store, trash
from core.runs.store import Run
from dashboard.compare import kept_questions
from dashboard.server import sign_in, visitors
from dashboard.widgets import current_run, question_and_answers
from dashboard.widgets.question_and_answers import Answer, Exchange
from tests.dashboard.conftest import MakeRun


@pytest.fixture(autouse=True)
def ada(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "person", lambda: "ada")


def asked(run: Run, question: str, text: str = "", **values: Any) -> Exchange:
    own = question_and_answers.decoding_of(run.config())
    changed = current_run.stamp(run, "answers.jsonl")
    said = [{"text": "half \ud800", "logprob": -0.25, "top": [["whole", -0.1]]}]
    answers = {"before": Answer(text, "done", "d", said=said), "after": Answer("half", "streaming")}
    return Exchange(question, run.id, own, own, changed, answers=answers, **values)


def put(run: Run, *entries: Exchange) -> Path:
    path = kept_questions.place(run)
    assert path is not None
    kept_questions.write(path, kept_questions.lines([kept_questions.told(entry) for entry in entries]))
    return path


def opened(run: Run, values: Any) -> Exchange | None:
    own = question_and_answers.decoding_of(run.config())
    return kept_questions.opened(values, run, own, current_run.answers(run))


def test_only_the_last_questions_are_kept_and_no_more_than_a_file_may_hold(make_run: MakeRun) -> None:
    run = make_run("much")
    path = put(run, *(asked(run, f"{n}?") for n in range(kept_questions.MOST + 5)))
    assert [e["question"] for e in kept_questions.read(path)] == [f"{n}?" for n in range(kept_questions.MOST)]
    put(run, *(asked(run, f"{n}?", "x" * 40_000) for n in range(kept_questions.MOST)))
    kept = kept_questions.read(path)
    assert 10 < len(kept) < kept_questions.MOST
    assert kept[0]["question"] == "0?"
    assert path.stat().st_size <= kept_questions.LARGEST
    assert list(kept[0]["answers"]) == ["before"], "what was not said to its end is asked again"


def test_nobody_but_the_server_opens_the_folder(make_run: MakeRun) -> None:
    path = put(make_run("mine"), asked(make_run("other"), "Who?"))
    assert stat.S_IMODE(path.parents[1].stat().st_mode) == 0o700
    assert path.relative_to(store.runs_folder()) == Path(layout.ASKED, "mine", "ada.jsonl")


def test_of_too_many_files_the_oldest_go(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_questions, "FILES", 3)
    runs = [make_run(f"run{n}") for n in range(5)]
    paths = []
    for age, run in zip((5, 4, visitors.SECONDS + 60, 1, 0), runs, strict=True):
        paths.append(put(run, asked(run, "Who?")))
        os.utime(paths[-1], (time.time() - age,) * 2)
    assert [path.exists() for path in paths] == [False, True, False, True, True]


def test_answers_of_another_state_of_the_run_are_left_out_and_the_question_stays(make_run: MakeRun) -> None:
    run = make_run("again")
    (values,) = kept_questions.read(put(run, asked(run, "Who?", "Somebody.", note="a note", star=True)))
    entry = opened(run, values)
    assert entry is not None
    assert (entry.answers["before"].text, entry.note, entry.star) == ("Somebody.", "a note", True)
    assert entry.answers["before"].said == [{"text": "half \ufffd", "logprob": -0.25}]
    os.utime(run.path / "answers.jsonl", (1e9, 1e9))
    entry = opened(run, values)
    assert entry is not None
    assert (entry.answers, entry.note) == ({}, "a note")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"question": 7},
        {"question": "  "},
        {"question": "Who?", "decoding": [1], "answers": 3, "star": "yes", "note": {}, "truth": 1, "prompt": []},
        {"question": "Who?", "decoding": {"temperature": "nan", "seed": -1, "max_new_tokens": 1e99, "top_p": True}},
        {
            "question": "W" * 9000,
            "answers": {"after": [], "<b>": {"state": "recorded"}, "before": {"state": "done", "text": 7}},
        },
    ],
)
def test_whatever_a_file_says_is_an_exchange_or_nothing(make_run: MakeRun, values: dict[str, Any]) -> None:
    run = make_run("odd")
    entry = opened(run, {"changed": current_run.stamp(run, "answers.jsonl"), **values})
    if entry is None:
        assert not str(values.get("question", "")).strip("7 ")
        return
    assert len(entry.question) <= question_and_answers.LONGEST_QUESTION
    assert 1 <= entry.decoding.answers.max_new_tokens <= 2048
    assert (entry.star, entry.note, entry.prompt) == (False, "", "")
    assert {voice: answer.text for voice, answer in entry.answers.items()} in ({}, {"before": ""})


def test_a_damaged_file_is_read_as_far_as_it_goes(make_run: MakeRun) -> None:
    run = make_run("torn")
    path = put(run, asked(run, "\ud800 half?"))
    path.write_bytes(path.read_bytes() + b"[1]\n{\xff\n" + json.dumps({"question": "Who?"}).encode())
    assert [entry["question"] for entry in kept_questions.read(path)] == ["\ufffd half?", "Who?"]


def test_it_goes_for_good_with_its_run_and_not_before(make_run: MakeRun) -> None:
    run = make_run("gone")
    path = put(run, asked(run, "Who?"))
    deleted = trash.delete(run)
    assert path.exists(), "the run can be taken back"
    trash.purge([deleted])
    assert not path.parent.exists()
