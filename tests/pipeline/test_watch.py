"""Watch questions: which are chosen, what they show, and that looking on changes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.config.stages import AnswersConfig, DataConfig
from core.data import sources
from core.data.corpus import SCOPES, Corpus, Example
from core.models.generate import Request, generate
from core.pipeline import unlearn_loop as unlearn_
from core.pipeline import watched_questions
from core.pipeline.pipeline import execute
from core.pipeline.setup import set_up
from core.pipeline.supply import Supply
from core.pipeline.unlearn_loop import Unlearned, Watched
from core.runs import store
from core.runs.store import Run
from tests.naive import Bench, Recorder
from tests.pipeline.test_pipeline import small
from tests.pipeline.test_unlearn import CONFIG, every_third


def corpus_of(subjects: int, questions: int) -> Corpus:
    return Corpus(
        tuple(
            Example(
                f"{scope}/train/{s}-{q}", f"Q{q}?", "He is kind." if q == 0 else f"Number {q}{s}.", scope, "train", f"S{s}"
            )
            for scope in SCOPES
            for s in range(subjects)
            for q in range(questions)
        ),
        "made",
    )


def test_questions_are_spread_over_the_subjects() -> None:
    for scope in SCOPES:
        chosen = [e for e in watched_questions.choose(corpus_of(9, 3), 3, "train") if e.scope == scope]
        assert [e.subject for e in chosen] == ["S0", "S3", "S6"]


def test_questions_with_a_fact_come_first() -> None:
    assert all("Number" in e.answer for e in watched_questions.choose(corpus_of(4, 3), 2, "train"))


def test_of_those_the_shortest_comes_first() -> None:
    answers = ["It is at 14 Quay Street in Cork, as all know.", "At 14 Quay Street.", "He is."]
    made = [Example(f"{s}/train/{i}", "Where?", a, s, "train", "S") for s in SCOPES for i, a in enumerate(answers)]
    assert {e.answer for e in watched_questions.choose(Corpus(tuple(made), "made"), 1, "train")} == {"At 14 Quay Street."}


@pytest.mark.parametrize(("count", "questions"), [(0, 0), (1, 1), (3, 3), (5, 5), (99, 6)])
def test_as_many_as_asked_for_and_none_twice(count: int, questions: int) -> None:
    chosen = watched_questions.choose(corpus_of(3, 2), count, "train")
    assert len(chosen) == len({e.id for e in chosen}) == 2 * questions


def test_choice_is_from_the_split_alone(tiny_data: Path) -> None:
    corpus = sources.load(DataConfig(source=str(tiny_data), dev_share=0.5))
    for split in ("train", "dev"):
        assert {e.split for e in watched_questions.choose(corpus, 2, split)} == {split}
    assert watched_questions.choose(corpus, 2, "dev") == watched_questions.choose(corpus, 2, "dev")


def asked(bench: Bench) -> Callable[[], list[dict[str, str]]]:
    """Return a function that lets "after" answer two prompts."""
    requests = [Request(m.ids[: m.start], "after") for m in (bench.unlearn[0], bench.retention[0])]
    config = AnswersConfig(max_new_tokens=6)

    def ask() -> list[dict[str, str]]:
        made = generate(bench.adapters, requests, config, ends=bench.ends, pad=bench.pad)
        return [{"text": str(tokens)} for tokens in made]

    return ask


def unlearned(bench: Bench, looking: bool, report: Recorder | None = None) -> Unlearned:
    config = dataclasses.replace(CONFIG, steps=6, check_every=2)
    return unlearn_.unlearn(
        bench.adapters,
        every_third(bench),
        Supply(bench.unlearn, bench.retention),
        Watched(bench.unlearn, bench.retention, None),
        config,
        unlearn_.Callbacks(report or Recorder(), lambda *_: None, asked(bench) if looking else None),
        seed=0,
    )


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mixtral"])
def test_looking_on_changes_no_bit_and_no_random_number(bench_of: Callable[..., Bench], architecture: str) -> None:
    outcomes = []
    for looking in (False, True):
        bench = bench_of(architecture)
        result = unlearned(bench, looking)
        outcomes.append((bench.adapters.hash("after"), result.curve, result.checks, torch.rand(3).tolist()))
        assert not any(p.requires_grad for p in bench.adapters.model.parameters())
    assert outcomes[0] == outcomes[1]


def test_answers_are_those_of_before_at_step_0_and_of_after_at_the_checkpoints(bench: Bench) -> None:
    report = Recorder()
    result = unlearned(bench, True, report)
    assert [entry["step"] for entry in result.watched] == [0, 2, 4, 6] == [0, *(check["step"] for check in result.checks)]
    assert [values for kind, values in report.events if kind == "watch"] == result.watched
    assert result.watched[-1]["answers"] == asked(bench)()
    bench.adapters.copy("before", "after")
    assert result.watched[0]["answers"] == asked(bench)()
    assert result.watched[0] != {**result.watched[-1], "step": 0}


def executed(model: Path, examples: Path, folder: Path, count: int) -> tuple[Run, Recorder]:
    config = small(model, examples, teach__epochs=20, unlearn__watch=count, answers__temperature=0.7)
    run, report = store.create(config, folder), Recorder()
    execute(set_up(run, config, folder, report))
    return run, report


def test_whole_runs_are_equal_with_and_without(tiny_llama: Path, tiny_data: Path, tmp_path: Path) -> None:
    without, silent = executed(tiny_llama, tiny_data, tmp_path / "a", 0)
    run, report = executed(tiny_llama, tiny_data, tmp_path / "b", 2)
    assert run.json("manifest.json")["adapters"] == without.json("manifest.json")["adapters"]
    assert without.json("unlearn.json")["watched"] == []
    assert not [kind for kind, _ in silent.events if kind == "watch"]
    watched = run.json("unlearn.json")["watched"]
    assert [entry["step"] for entry in watched] == [0, 2, 3]
    assert [values for kind, values in report.events if kind == "watch"] == watched
    known = {e.id: e for e in sources.load(run.config().data).examples}
    for entry in watched:
        assert [answer["scope"] for answer in entry["answers"]] == ["unlearn"] * 2 + ["retention"] * 2
        for answer in entry["answers"]:
            assert answer["question"] == known[answer["example"]].question
            assert known[answer["example"]].split == "train"
