"""The probe "U or R question?" against naive computations, and on states whose separability is known."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from core.data.corpus import Corpus
from core.localization.separability import (
    FOLDS,
    RIDGE,
    fold_aucs,
    hidden_states,
    prompts,
    questions,
    ridge_scores,
    separability,
    split,
)
from core.metrics.intervals import auc, auc_interval
from core.models.tokens import Encoded
from core.pipeline.setup import set_up
from tests.naive import Bench, Recorder, plain_model
from tests.pipeline.test_pipeline import execute, small
from tests.tiny import ARCHITECTURES


def silent(count: int, tokens: int) -> None:
    """Take the number of questions that are done."""


def test_auc_counts_pairs_in_the_right_order() -> None:
    source = np.random.default_rng(0)
    positive, negative = source.integers(0, 6, 17).astype(float), source.integers(0, 5, 11).astype(float)
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(positive, negative)]
    assert auc(positive, negative) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert auc(np.ones(3), np.ones(4)) == 0.5
    assert auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0


def test_scores_are_those_of_ridge_regression_on_standardized_features() -> None:
    source = np.random.default_rng(1)
    features, targets, others = source.normal(3, 2, (9, 4)), source.choice([-1.0, 1.0], 9), source.normal(3, 2, (5, 4))
    features[:, 2] = 7.0  # a feature that never changes says nothing
    deviation = np.where(features.std(0) > 0, features.std(0), np.inf)
    x, z = (features - features.mean(0)) / deviation, (others - features.mean(0)) / deviation
    weights = np.linalg.solve(x.T @ x + RIDGE * 4 * np.eye(4), x.T @ (targets - targets.mean()))
    np.testing.assert_allclose(ridge_scores(features, targets, others), z @ weights, atol=1e-12)


def test_folds_hold_each_question_once_and_both_scopes() -> None:
    is_unlearn = np.array([True] * 13 + [False] * 7)
    folds = split(is_unlearn, 3)
    assert sorted(set(folds)) == list(range(FOLDS))
    for scope, most in ((True, 3), (False, 2)):
        counts = np.bincount(folds[is_unlearn == scope], minlength=FOLDS)
        assert counts.min() >= 1
        assert counts.max() <= most
    assert (folds == split(is_unlearn, 3)).all()
    assert (folds != split(is_unlearn, 4)).any()
    assert set(split(np.array([True] * 9 + [False] * 3), 0)) == {0, 1, 2}, (
        "no more folds than the smaller scope has questions"
    )


def test_one_question_of_a_scope_is_too_few() -> None:
    is_unlearn = np.array([True, True, True, False])
    assert fold_aucs(np.zeros((4, 2)), is_unlearn, split(is_unlearn, 0)) == []


def test_known_separability_is_found() -> None:
    source = np.random.default_rng(5)
    is_unlearn = np.repeat([True, False], [60, 40])
    noise, constant = source.normal(size=(100, 30)), np.full((100, 30), 0.1)
    apart = noise.copy()
    apart[:, 7] += np.where(is_unlearn, 4.0, -4.0)
    folds = split(is_unlearn, 0)
    assert min(fold_aucs(apart, is_unlearn, folds)) > 0.95
    assert 0.3 < np.mean(fold_aucs(noise, is_unlearn, folds)) < 0.7, "held-out folds do not flatter noise"
    assert fold_aucs(constant, is_unlearn, folds) == [0.5] * FOLDS


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_are_what_each_layer_reads_at_the_question_s_end(bench_of: Callable[..., Bench], architecture: str) -> None:
    bench = bench_of(architecture)
    members = prompts([*bench.unlearn, *bench.retention])
    assert len({len(m.ids) for m in members[:4]}) > 1  # so that batches are padded
    states = hidden_states(bench.adapters, members, 4, silent)
    model = plain_model(bench.adapters, "before")
    for number, member in enumerate(members):
        with torch.no_grad():
            output = model(input_ids=torch.tensor([member.ids]), output_hidden_states=True)
        # The last state that transformers hands out has gone through the final norm already.
        for layer, expected in enumerate(output.hidden_states[:-1]):
            np.testing.assert_allclose(states[layer, number], expected[0, -1].numpy(), rtol=1e-4, atol=1e-4)
    assert len(states) == len(output.hidden_states)
    model.requires_grad_(False)


def test_a_layer_that_tells_the_scopes_apart_is_found(bench: Bench) -> None:
    """What makes the scopes differ is written into the model between its layers, so only later depths can know it."""
    texts = {m.ids for m in prompts(bench.unlearn)}
    # A third of the questions is held out.
    (unlearn, other_unlearn), (retention, other_retention) = ((s[:4], s[4:]) for s in (bench.unlearn, bench.retention))
    held = {"val": (other_unlearn, other_retention)}

    def write(_: torch.nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        marked = output.clone()
        marked[:, :, 0] = torch.where(current[:, None], 50.0, -50.0)
        return marked

    def read(_: torch.nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor]) -> None:
        nonlocal current
        rows = zip(kwargs["input_ids"].tolist(), kwargs["attention_mask"].tolist(), strict=True)
        current = torch.tensor([tuple(ids[: sum(mask)]) in texts for ids, mask in rows])

    current = torch.tensor([])
    backbone = bench.adapters.model.get_base_model().base_model
    handles = [bench.adapters.block(0).register_forward_hook(write)]
    handles.append(backbone.register_forward_pre_hook(read, with_kwargs=True))
    try:
        by_layer = separability(bench.adapters, unlearn, retention, held, size=4, seed=0, done=silent).set_index("layer")
    finally:
        for handle in handles:
            handle.remove()
    assert by_layer.loc[0, "auc"] == by_layer.loc[0, "low"] == by_layer.loc[0, "high"] == 0.5, (
        "every question ends with the same token"
    )
    assert by_layer.loc[1, "auc"] == 1.0
    assert (by_layer["low"] <= by_layer["auc"]).all()
    assert (by_layer["auc"] <= by_layer["high"]).all()
    assert by_layer.loc[0, "val"] == 0.5
    assert by_layer.loc[1, ["val", "val_low", "val_high"]].tolist() == [1.0, 1.0, 1.0]


def test_twins_in_train_flatter_and_held_out_questions_do_not(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each train question comes twice, in states that say nothing of its scope: in folds one twin tells the other."""
    source = np.random.default_rng(2)

    def twins(_: object, members: list[Encoded], *__: object) -> np.ndarray:
        said = {m.id.rsplit("~", 1)[0]: source.normal(size=40) for m in members}
        return np.stack([[said[m.id.rsplit("~", 1)[0]] for m in members]] * 3)

    def made(scope: str, count: int, copies: int) -> list[Encoded]:
        start = sum(map(ord, scope))
        return [Encoded(f"{scope}/{n}~{c}", (start, n, c, 9), 3) for n in range(count) for c in range(copies)]

    monkeypatch.setattr("core.localization.separability.hidden_states", twins)
    held = {"val": (made("held u", 60, 1), made("held r", 60, 1))}
    row = separability(bench.adapters, made("u", 12, 4), made("r", 12, 4), held, size=4, seed=0, done=silent).iloc[0]
    assert row["auc"] > 0.9
    assert row["val_low"] < 0.5 < row["val_high"]


def test_held_out_are_questions_whose_wording_train_has_not() -> None:
    def of(*texts: int) -> list[Encoded]:
        return [Encoded(f"{t}", (t, 6, 1), 2) for t in texts]

    asked = questions(of(1, 2), of(3, 4), {"val": (of(5, 6, 1), of(7, 8, 3)), "dev": (of(5, 1), of(7, 8))})
    assert {name: [[m.ids[0] for m in scope] for scope in scopes] for name, scopes in asked.items()} == {
        "train": [[1, 2], [3, 4]],
        "val": [[5, 6], [7, 8]],  # of dev too little is left
    }
    assert set(questions(of(1), [], {"val": (of(5, 6), of(7, 8))})) == {"train"}


def test_the_interval_of_the_auc_holds_it() -> None:
    source = np.random.default_rng(0)
    positive, negative = source.normal(0.8, 1, 40), source.normal(0, 1, 50)
    value, low, high = auc_interval(positive, negative)
    assert value == pytest.approx(auc(positive, negative))
    assert low < value < high
    half = 1.96 * np.sqrt(value * (1 - value) / 40)  # wider than the truth: as if each question were one pair
    assert 0.3 * half < (high - low) / 2 < 1.5 * half


def test_a_wording_counts_once_and_answers_are_not_seen() -> None:
    members = [Encoded("a", (5, 6, 7, 1), 2), Encoded("b", (5, 6, 8, 1), 2), Encoded("c", (5, 9, 8, 1), 2)]
    assert [m.ids for m in prompts(members)] == [(5, 6), (5, 9)]


def test_it_is_fitted_on_train_and_the_rule_does_not_look_at_held_out_questions(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Encoded] = []
    others: list[str] = []

    def watched(adapters: object, unlearn: list[Encoded], retention: list[Encoded], held: Any, **rest: Any) -> pd.DataFrame:
        seen.extend([*unlearn, *retention])
        others.extend(held)
        return separability(adapters, unlearn, retention, held, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr("core.pipeline.localize.separability", watched)
    run, _ = execute(small(tiny_llama, tiny_data, data__dev_share=0.5, region="separable", region__amount="1"), tmp_path)
    corpus: Corpus = set_up(run, run.config(), tmp_path, Recorder()).corpus
    assert {m.id for m in seen} == {e.id for e in corpus.examples if e.split == "train"}
    assert len(corpus.select(None, "dev")) > 0
    assert others == ["dev", "val"]
    table, by_layer = run.table("localization"), run.table("separability")
    assert table is not None
    assert by_layer is not None
    assert by_layer["layer"].tolist() == [0, 1, 2]
    assert {"val", "val_low", "val_high"} <= set(by_layer.columns)
    assert table["auc"].tolist() == [by_layer["auc"][layer] for layer in table["layer"]]
    assert run.json("region.json")["rule"] == {"name": "separable", "amount": "1"}


def test_an_adapter_outside_the_layers_has_no_depth_to_be_probed() -> None:
    outside = SimpleNamespace(cells=[SimpleNamespace(layer=-1)])
    assert separability(outside, [], [], {}, size=1, seed=0, done=lambda *_: None).empty
