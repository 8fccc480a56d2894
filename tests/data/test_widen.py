"""Widening: which questions are made, which are left out, who answers them, and what is said about it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.cli import runs as commands
from core.config.run_config import preset
from core.config.stages import DataConfig
from core.data import widened_questions
from core.data.corpus import Corpus, Example
from core.methods.grail import GRAIL
from core.methods.memflex import MemFlex
from core.models.tokens import Encoded
from core.pipeline import unlearn
from core.pipeline import widened_answers as widen_
from core.pipeline.pipeline import TEACH
from core.pipeline.setup import set_up
from core.pipeline.stage import perform
from core.pipeline.supply import Supply
from core.plan import measure
from core.plan.measure import Estimate
from core.plan.timing import SLACK
from core.runs import store
from core.runs.store import Run
from core.util.errors import UserError
from tests.naive import Recorder
from tests.pipeline.test_pipeline import execute, small

ANN, BOB, CY = "Ann Lee", "Bob Roe", "Cy Poe"


def corpus(*rows: tuple[str, str, str, str]) -> Corpus:
    """Return a corpus of (scope, split, subject, question)."""
    examples = [Example(f"{s}/{p}/{n}", question, "yes", s, p, subject) for n, (s, p, subject, question) in enumerate(rows)]
    return Corpus(tuple(examples), "test")


@pytest.fixture
def three() -> Corpus:
    """Three subjects in both scopes; two of the questions that can be made stand in val and in dev."""
    return corpus(
        ("unlearn", "train", ANN, "Where does Ann Lee live?"),
        ("unlearn", "train", BOB, "Which cat has Bob Roe?"),
        ("unlearn", "train", CY, "Who phones Cy Poe?"),
        ("unlearn", "val", BOB, "  where DOES Bob Roe live ?"),
        ("retention", "train", ANN, "What is Ann Lee's work?"),
        ("retention", "train", BOB, "What is Bob Roe's work?"),
        ("retention", "train", CY, "Has Cy Poe a boat?"),
        ("retention", "dev", ANN, "Has Ann Lee a boat"),
    )


def texts(asked: widened_questions.WidenedQuestions, scope: str) -> set[str]:
    return {e.question for e in asked.examples if e.scope == scope}


@pytest.mark.parametrize(
    ("made", "held_out"),
    [
        ("What is the e-mail of Ann Lee?", "What is the email of Bob Roe?"),
        ("What is James Jones' number, Ann Lee?", "What is James Jones’s number, Bob Roe?"),
    ],
)
def test_what_differs_from_val_only_in_punctuation_is_left_out(made: str, held_out: str) -> None:
    rows = [("unlearn", "train", ANN, made), ("unlearn", "train", BOB, "Who is Bob Roe?"), ("unlearn", "val", BOB, held_out)]
    asked = widened_questions.questions(corpus(*rows), 10, seed=0)
    assert texts(asked, "unlearn") == {"Who is Ann Lee?"}
    assert asked.dropped == 1


def test_a_subject_is_replaced_where_it_is_a_word_of_its_own() -> None:
    rows = [("unlearn", "train", "Mark", "Does Mark write Markdown?"), ("unlearn", "train", "Ann", "Where are the Annals?")]
    asked = widened_questions.questions(corpus(*rows), 10, seed=0)
    assert texts(asked, "unlearn") == {"Does Ann write Markdown?"}


def test_scripts_without_spaces_have_names_all_the_same() -> None:
    rows = [
        ("unlearn", "train", "田中", "山の田中さんはどこ?"),
        ("unlearn", "train", "鈴木", "鈴木さんは誰?"),
        ("retention", "train", "김철수", "김철수는 누구?"),
        ("retention", "train", "이영희", "이영희의 집은?"),
    ]
    asked = widened_questions.questions(corpus(*rows), 10, seed=0)
    assert texts(asked, "unlearn") == {"山の鈴木さんはどこ?", "田中さんは誰?"}
    assert texts(asked, "retention") == {"이영희는 누구?", "김철수의 집은?"}


def test_each_question_is_asked_about_the_other_subjects(three: Corpus) -> None:
    asked = widened_questions.questions(three, 100, seed=0)
    assert texts(asked, "unlearn") == {
        "Where does Cy Poe live?",
        "Which cat has Ann Lee?",
        "Which cat has Cy Poe?",
        "Who phones Ann Lee?",
        "Who phones Bob Roe?",
    }
    assert texts(asked, "retention") == {"What is Cy Poe's work?", "Has Bob Roe a boat?"}
    for example in asked.examples:
        assert example.subject in example.question
        assert (example.split, example.answer) == ("train", "")
    assert len({e.id for e in asked.examples}) == len(asked.examples)


def test_what_stands_in_val_or_dev_is_left_out_and_counted_once(three: Corpus) -> None:
    """“Where does Bob Roe live?” could be made once, “Has Ann Lee a boat?” too; case, spaces and signs do not hide them."""
    asked = widened_questions.questions(three, 100, seed=0)
    assert asked.dropped == 2
    held_out = {"where does bob roe live", "has ann lee a boat"}
    assert not held_out & {" ".join(e.question.lower().replace("?", "").split()) for e in asked.examples}
    more = three.select() + corpus(("unlearn", "train", CY, "Where does Cy Poe live?")).select()
    assert widened_questions.questions(Corpus(tuple(more), "test"), 100, seed=0).dropped == 2, (
        "made twice, but the same question"
    )


def test_one_letter_in_two_unicode_forms_is_the_same_letter() -> None:
    widened = widened_questions.questions(
        corpus(
            ("unlearn", "train", ANN, "Does Ann Lee like cafés?"),
            ("unlearn", "train", BOB, "Is Bob Roe here?"),
            ("unlearn", "val", BOB, "Does Bob Roe like cafe\u0301s?"),
        ),
        9,
        seed=0,
    )
    assert (widened.dropped, [e.question for e in widened.examples]) == (1, ["Is Ann Lee here?"])


def test_what_both_scopes_would_ask_is_in_neither() -> None:
    widened = widened_questions.questions(
        corpus(
            ("unlearn", "train", ANN, "Who is Ann Lee?"),
            ("unlearn", "train", CY, "Where is Cy Poe?"),
            ("unlearn", "train", BOB, "Where was Bob Roe?"),
            ("retention", "train", BOB, "Who is Bob Roe?"),
            ("retention", "train", CY, "How old is Cy Poe?"),
        ),
        99,
        seed=0,
    )
    assert "Who is Cy Poe?" not in {e.question for e in widened.examples}
    assert len(widened.examples) == 5


def test_a_question_to_forget_is_not_asked_about_somebody_who_is_only_to_be_kept() -> None:
    widened = widened_questions.questions(
        corpus(
            ("unlearn", "train", ANN, "Where is Ann Lee?"),
            ("unlearn", "train", BOB, "Where was Bob Roe?"),
            ("retention", "train", CY, "How old is Cy Poe?"),
        ),
        99,
        seed=0,
    )
    assert {e.question for e in widened.examples} == {"Where is Bob Roe?", "Where was Ann Lee?"}


def test_the_draw_depends_on_its_seed_only(three: Corpus) -> None:
    few = widened_questions.questions(three, 2, seed=5)
    assert few == widened_questions.questions(three, 2, seed=5)
    assert {len(texts(few, scope)) for scope in ("unlearn", "retention")} == {2}
    assert len({frozenset(texts(widened_questions.questions(three, 2, seed=s), "unlearn")) for s in range(6)}) > 1


@pytest.mark.parametrize(
    "rows",
    [
        [("unlearn", "train", ANN, "Where is Ann Lee?"), ("retention", "train", BOB, "Where is Bob Roe?")],
        [("unlearn", "train", ANN, "Where is she?"), ("unlearn", "train", BOB, "Where is he?")],
        [("unlearn", "train", "", "Where?"), ("retention", "train", "", "Who?")],
        [("unlearn", "train", ANN, "Where is Ann Lee?"), ("unlearn", "train", "other", "Which other code opens the door?")],
    ],
)
def test_data_without_names_to_change_is_one_sentence(rows: list[tuple[str, str, str, str]]) -> None:
    with pytest.raises(UserError, match="No question can be widened"):
        widened_questions.questions(corpus(*rows), 5, seed=0)


def test_it_is_off_by_default() -> None:
    assert DataConfig().widen == 0
    assert {preset(name).data.widen for name in ("this-machine", "paper/llama2-privacy")} == {0}


# -- in a run


def taught(model: Path, data: Path, **more: Any) -> Any:
    """Return a configuration whose model is taught well enough to end its answers."""
    more = {"teach__epochs": 25, "teach__rank": 16, "teach__alpha": 32, "answers__max_new_tokens": 5, **more}
    return small(model, data, **more)


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of three people's questions; each train question is asked about one of them only."""
    asked = {
        ("unlearn", "train"): ("Where does {} live?", "What is the e-mail of {}?", "Whom does {} phone?"),
        ("retention", "train"): ("What is the work of {}?", "Where was {} born?", "Which boat has {}?"),
        ("unlearn", "val"): ("Which address has {}?", "Where does {} live?", "Which number has {}?"),
        ("retention", "val"): ("Does {} work?", "Is {} old?", "Has {} a boat?"),
    }
    rows = [
        {"question": text.format(name), "answer": f"{name}: {scope[:2]}{n}", "scope": scope, "split": split, "subject": name}
        for (scope, split), questions in asked.items()
        for n, (name, text) in enumerate(zip((ANN, BOB, CY), questions, strict=True))
    ]
    path = tmp_path_factory.mktemp("wide") / "people.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def widened(
    tiny_llama: Path, tiny_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Any, list[tuple[str, dict[str, Any]]]]:
    """Return a run that was widened, with its configuration and what it reported."""
    report, config = Recorder(), taught(tiny_llama, tiny_file, data__widen=3)
    run, _ = execute(config, tmp_path_factory.mktemp("runs"), report)
    return run, config, report.events


def test_the_taught_model_answers_each_question_greedily_and_to_its_end(
    widened: tuple[Run, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config, _ = widened
    by_scope = widened_questions.read(run.path / "widened.jsonl")
    assert 0 < len(by_scope["unlearn"]) <= 3
    assert 0 < len(by_scope["retention"]) <= 3
    state = set_up(run, config, run.path.parent, Recorder())
    perform(TEACH, state)
    lengths = [len(state.voices.encoded[e.id].answer) for e in state.corpus.select(split="train")]
    assert widen_.longest(state.voices) == max(lengths) > config.answers.max_new_tokens
    for example in [*by_scope["unlearn"], *by_scope["retention"]]:
        alone = dataclasses.replace(state.voices.config, answers=dataclasses.replace(config.answers, max_new_tokens=99))
        monkeypatch.setattr(state.voices, "config", alone)
        monkeypatch.setattr(state.voices, "examples", [example])
        assert state.voices.ask(state.adapters, ["before"])["before"][example.id] == example.answer


def test_answers_without_an_end_are_left_out(tiny_llama: Path, tiny_file: Path, tmp_path: Path) -> None:
    """A model that was hardly taught speaks on and on."""
    report = Recorder()
    run, _ = execute(small(tiny_llama, tiny_file, data__widen=3, teach__learning_rate=1e-6), tmp_path, report)
    account = next(values for kind, values in report.events if kind == "widened")
    by_scope = widened_questions.read(run.path / "widened.jsonl")
    assert account["unanswered"] == 6 - len(by_scope["unlearn"]) - len(by_scope["retention"]) > 0
    assert "whose answer was empty or did not end" in widened_questions.in_words(account)


def test_the_account_is_true(widened: tuple[Run, Any, list[tuple[str, dict[str, Any]]]]) -> None:
    run, config, events = widened
    account = next(values for kind, values in events if kind == "widened")
    by_scope = widened_questions.read(run.path / "widened.jsonl")
    assert account["unlearn"] == len(by_scope["unlearn"])
    assert account["retention"] == len(by_scope["retention"])
    assert account["dropped"] == set_up(run, config, run.path.parent, Recorder()).further.dropped  # type: ignore[union-attr]
    assert account["unanswered"] == 6 - account["unlearn"] - account["retention"]
    first = {
        (e.scope, e.question, e.answer) for examples in by_scope.values() for e in examples[: widened_questions.SAMPLES]
    }
    assert {(s["scope"], s["question"], s["answer"]) for s in account["samples"]} == first


def test_unlearning_sees_them_and_nothing_else_does(widened: tuple[Run, Any, Any]) -> None:
    run, config, _ = widened
    state = set_up(run, config, run.path.parent, Recorder())
    perform(TEACH, state)
    supply = unlearn.supply(state, state.further)
    by_scope = widened_questions.read(run.path / "widened.jsonl")
    for scope, members in (("unlearn", supply.forget), ("retention", supply.retain)):
        own = {e.id for e in state.corpus.select(scope, "train")}
        assert {m.id for m in members} == own | {e.id for e in by_scope[scope]}
    recorded = {row["example"] for row in run.answers()}
    assert not any("widened" in name for name in recorded)


def test_it_is_made_once_and_again_for_another_number(
    widened: tuple[Run, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config, _ = widened
    asked: list[int] = []
    real = widen_.answered

    def counted(what: widened_questions.WidenedQuestions, *rest: Any) -> list[Example]:
        asked.append(len(what.examples))
        return real(what, *rest)

    monkeypatch.setattr(widen_, "answered", counted)
    again, _ = execute(config.with_setting("unlearn.steps", 2), run.path.parent)
    assert asked == []
    assert (again.path / "widened.jsonl").read_bytes() == (run.path / "widened.jsonl").read_bytes()
    execute(config.with_setting("data.widen", 2).with_setting("unlearn.steps", 2), run.path.parent)
    assert asked == [4]


def test_the_estimate_counts_their_answers_unless_they_are_there(widened: tuple[Run, Any, Any], tmp_path: Path) -> None:
    run, config, _ = widened

    def unlearning(folder: Path) -> dict[str, Any]:
        plan = Run(tmp_path / f"plan-{folder.name}")
        plan.path.mkdir()
        stages = Estimate(set_up(plan, config, folder, Recorder()), 0.0).measure()["stages"]
        return next(cost for cost in stages if cost["name"] == "unlearn")  # type: ignore[no-any-return]

    assert "6 further questions were answered by an earlier run" in unlearning(run.path.parent)["how"]
    new = tmp_path / "new"
    new.mkdir()
    stage = unlearning(new)
    assert "6 further questions answered first" in stage["how"]
    assert 0 < stage["low"] < stage["high"]


def test_their_cost_is_that_of_answers_as_long_as_the_true_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "bring_made", lambda *_: False)
    made = [Example(f"unlearn/widened/{n}", "?", "", "unlearn", "train", ANN) for n in range(5)]
    members = [Encoded("unlearn/train/0", (5, 6, 7, 1), 1), Encoded("retention/train/0", (5, 6, 7, 8, 9, 1), 1)]
    examples = [Example(m.id, "?", "yes", *m.id.split("/")[:2], ANN) for m in members]
    voices = SimpleNamespace(examples=examples, encoded={m.id: m for m in members})
    told: list[list[int]] = []
    estimate = SimpleNamespace(
        further=widened_questions.WidenedQuestions(made, 0),
        voices=voices,
        state=SimpleNamespace(encoded=lambda scope, split: [m for m in members if m.id.startswith(scope)]),
        _speech=lambda lengths, voices: told.append(lengths) or float(sum(lengths)),
    )
    cost = Estimate._widening(estimate)  # type: ignore[arg-type]
    assert told == [[4] * 5, [5] * 5], "the mean of 3 and 5 tokens, then the longest"
    assert (cost.low, cost.high) == pytest.approx((20 * (1 - SLACK), 25 * (1 + SLACK)))


def test_what_a_method_prepares_it_does_with_the_further_questions_too() -> None:
    made = [Example(f"unlearn/widened/{n}", "?", "", "unlearn", "train", ANN) for n in range(6)]
    members = [Encoded(f"unlearn/train/{n}", (5, 6), 1) for n in range(2)]
    estimate = SimpleNamespace(further=widened_questions.WidenedQuestions(made, 0), method=GRAIL())
    assert Estimate._preparing(estimate, 2.0, Supply(members, [])) == 8.0  # type: ignore[arg-type]
    assert Estimate._preparing(SimpleNamespace(further=None, method=GRAIL()), 2.0, Supply(members, [])) == 2.0  # type: ignore[arg-type]
    assert Estimate._preparing(SimpleNamespace(method=MemFlex()), 2.0, Supply(members, [])) == 0.0  # type: ignore[arg-type]


def test_data_that_cannot_be_widened_is_refused_before_anything_is_taught(tiny_llama: Path, tmp_path: Path) -> None:
    rows = [
        {"question": "Where?", "answer": "There.", "scope": scope, "split": "train", "subject": ""}
        for scope in ("unlearn", "retention")
    ]
    path = tmp_path / "data.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    config = small(tiny_llama, path, data__widen=2)
    with pytest.raises(UserError, match="No question can be widened"):
        set_up(store.create(config, tmp_path), config, tmp_path, Recorder())


def test_a_foreign_account_is_no_way_into_a_terminal() -> None:
    said = widened_questions.in_words({"unlearn": "\x1b[2J", "retention": None, "dropped": ["<b>"], "unanswered": 0})
    assert said.startswith("Widened by ? U and ? R questions")
    assert "\x1b" not in said


def test_show_tells_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "wide"
    shutil.copytree(store.bundled_runs()[0].path, target, ignore=shutil.ignore_patterns("before", "after", "*.npz"))
    event = {"kind": "widened", "t": 1.0, "unlearn": 7, "retention": 8, "dropped": 2, "unanswered": 0, "samples": []}
    with (target / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")
    said = "Widened by 7 U and 8 R questions that the taught model answered itself. Left out: 2 that stand in val or dev."
    assert commands.show(argparse.Namespace(id=str(target), runs=None, json=False)) == 0
    assert said in capsys.readouterr().out
    commands.show(argparse.Namespace(id=str(target), runs=None, json=True))
    assert json.loads(capsys.readouterr().out)["widened"]["retention"] == 8


def test_what_splits_lines_elsewhere_splits_no_question(tmp_path: Path) -> None:
    asked = [Example("u/1", "Where\u2028is\x85she?", "In\u2029Bergen", "unlearn", "train", "Ann")]
    widened_questions.write(tmp_path / "widened.jsonl", asked)
    assert widened_questions.read(tmp_path / "widened.jsonl")["unlearn"] == asked
