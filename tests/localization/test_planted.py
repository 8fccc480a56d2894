"""Planted truth on a tiny model: what is planted lies where it should, and what finds it is told apart from chance."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from core.config.stages import LocalizeConfig
from core.data.corpus import Corpus, Example
from core.localization import SCORES
from core.localization.ablation import ablation
from core.localization.facts import Flags
from core.localization.planted import Planted, Planting, _apart, drawn, plant
from core.localization.plantings import (
    DECOY,
    MEASURES,
    RETENTION,
    ROLES,
    UNLEARN,
    best_score,
    fact_sets,
    found,
    sentences,
    together,
)
from core.models.tokens import Encoded, collate
from core.pipeline.localize import module_scores
from core.util.errors import UserError
from tests.localization.test_scores import flags_of, modules
from tests.naive import Bench, Recorder, example_loss, gradients, make_bench, plain_model

TINY = Planting(modules=8, steps=60, batch_size=2, learning_rate=3e-3, size=0.0)
FACTS = 2
"""examples that each set of modules learns: a random model of this size holds no more"""
Sets = list[list[Encoded]]


@pytest.fixture(scope="module")
def planted(deep_tiny_of: Callable[[str], Path], tiny_data: Path) -> tuple[Bench, Flags, Planted]:
    bench = make_bench(deep_tiny_of("llama"), tiny_data, live=False, rank=16)
    flags = flags_of(bench, tiny_data)
    return bench, flags, plant(bench.adapters, sets(bench, flags), flags, TINY)


def sets(bench: Bench, flags: Flags) -> Sets:
    """Return U, R and one set of decoys."""
    half = len(bench.retention) // 2
    whole = bench.unlearn, bench.retention[:half], bench.retention[half:]
    return [[m for m in members if any(flags[m.id])][:FACTS] for members in whole]


def test_each_set_of_facts_goes_with_its_own_modules(planted: tuple[Bench, Flags, Planted]) -> None:
    check = planted[2].check
    assert list(check.index) == list(ROLES)
    for role in ROLES:
        assert check.loc[role, "taught"] > check.loc[role, "before"] + 0.2
        lost = {other: check.loc[role, "taught"] - check.loc[role, f"without_{other}"] for other in ROLES}
        assert lost[role] == max(lost.values())


def test_what_is_taught_is_what_the_adapter_holds(planted: tuple[Bench, Flags, Planted]) -> None:
    bench, _, truth = planted
    assert list(truth.roles) == modules(bench.adapters)
    counts = pd.Series(truth.roles).value_counts()
    assert counts[UNLEARN] == counts[RETENTION] == TINY.modules
    assert (truth.sizes > 0).all()
    assert not any(p.requires_grad or p.grad is not None for p in bench.adapters.model.parameters())


def test_planted_facts_hold_where_they_go_with_their_modules_alone() -> None:
    def truth(own: float, other: float) -> Planted:
        columns = {"before": -5.0, "taught": 0.0}
        rows = {name: columns | {f"without_{gone}": -own if gone == name else -other for gone in ROLES} for name in ROLES}
        return Planted({}, pd.DataFrame.from_dict(rows, orient="index"), pd.Series(dtype=float))

    assert truth(3.0, 1.0).holds
    assert not truth(2.0, 0.5).holds
    assert not truth(3.0, 2.0).holds


def test_scores_are_asked_blindly(planted: tuple[Bench, Flags, Planted]) -> None:
    bench, flags, truth = planted
    members = sets(bench, flags)
    scores = module_scores(
        bench.adapters, members[0], members[1], LocalizeConfig(copies=3), bench.words, flags, 0, Recorder()
    )
    assert list(scores) == [*SCORES, "located"]
    oracle = ablation(bench.adapters, members[0], members[1], flags)
    scores["ablation"] = oracle.set_index("name")["difference"]
    result = found(truth.roles, scores)
    assert list(result.index) == [*SCORES, "located", "ablation"]
    # A random model of this size holds facts badly, and its sets lean on each other: far from 1, and above chance.
    assert result.loc["ablation", "auc_retention"] > 0.6


def test_same_seeds_plant_the_same_and_other_ones_elsewhere(deep_tiny_of: Callable[[str], Path], tiny_data: Path) -> None:
    bench = make_bench(deep_tiny_of("llama"), tiny_data, live=False)
    flags, few = flags_of(bench, tiny_data), Planting(modules=3, steps=2)
    first = [plant(bench.adapters, sets(bench, flags), flags, few) and bench.adapters.hash("before") for _ in range(2)]
    assert first[0] == first[1]
    again = plant(bench.adapters, sets(bench, flags), flags, Planting(modules=3, steps=2, seed=1))
    assert bench.adapters.hash("before") != first[0]
    assert again.sets == drawn(bench.adapters, few, 3)
    assert drawn(bench.adapters, Planting(modules=3, place=1), 3) != again.sets


def test_decoys_share_what_is_left_evenly(deep_tiny_of: Callable[[str], Path], tiny_data: Path) -> None:
    bench = make_bench(deep_tiny_of("llama"), tiny_data, live=False)
    counts = pd.Series(drawn(bench.adapters, Planting(modules=3), 5)).value_counts()
    assert counts[0] == counts[1] == 3
    assert counts.sum() == len(modules(bench.adapters))
    assert counts[[2, 3, 4]].max() - counts[[2, 3, 4]].min() <= 1


@pytest.mark.parametrize("architecture", ["llama", "opt"])
def test_modules_learn_from_their_own_facts_alone(
    tiny_of: Callable[[str], Path], tiny_data: Path, architecture: str
) -> None:
    """In one pass over all sets each module's gradient is the plain one of its own examples, taken through peft."""
    bench = make_bench(tiny_of(architecture), tiny_data)
    parts = [bench.unlearn[:2], bench.retention[:1], bench.retention[1:4]]
    where = drawn(bench.adapters, Planting(modules=2), 3)
    members = [m for part in parts for m in part]
    owners = torch.tensor([number for number, part in enumerate(parts) for _ in part])
    names = [cell.name for cell in bench.adapters.cells]
    batch = collate(members)
    with bench.adapters.trainable("before", names) as parameters, bench.adapters.active("before") as model:
        factors: dict[torch.nn.Parameter, torch.Tensor] = {}
        with _apart(bench.adapters, where, batch, owners, factors):
            logits = model(input_ids=batch.ids, attention_mask=batch.mask).logits[batch.rows, batch.columns]
            losses = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none")
            sum(losses[batch.owners == row].mean() for row in range(len(members))).backward()  # type: ignore[union-attr]
        together_ = {name: factors[p].clone() for name, p in zip(names, parameters, strict=True)}
    for number, part in enumerate(parts):
        plain = plain_model(bench.adapters, "before")
        sum(example_loss(plain, m) for m in part).backward()  # type: ignore[union-attr]
        for name, gradient in gradients(bench.adapters, "before").items():
            if where[name.rsplit(".lora_", 1)[0]] == number:
                torch.testing.assert_close(together_[name], gradient, rtol=1e-3, atol=1e-6)


def test_no_update_passes_its_limit(deep_tiny_of: Callable[[str], Path], tiny_data: Path) -> None:
    bench = make_bench(deep_tiny_of("llama"), tiny_data, live=False)
    flags = flags_of(bench, tiny_data)
    truth = plant(bench.adapters, sets(bench, flags), flags, Planting(modules=3, steps=3, size=0.01))
    np.testing.assert_allclose(truth.sizes, 0.01, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["mixtral", "llama"])
def test_models_without_enough_linear_layers_are_one_sentence(bench_of: Callable[..., Bench], architecture: str) -> None:
    with pytest.raises(UserError, match="cannot be planted"):
        drawn(bench_of(architecture).adapters, Planting(modules=10), 3)


def test_found_counts_pairs_and_the_highest() -> None:
    roles = {"a": UNLEARN, "b": UNLEARN, "c": RETENTION, "d": RETENTION, "e": DECOY}
    scores = pd.DataFrame({"s": [4.0, 2.0, 3.0, 1.0, np.nan]}, index=list("abcde"))
    row = found(roles, scores).loc["s"]
    assert row["auc_retention"] == 0.75
    assert row["auc_decoy"] == 1.0
    assert row["precision"] == 0.5
    assert row["auc_retention_low"] <= 0.75 <= row["auc_retention_high"]


# -- sets of facts


def corpus(unlearn: int, retention: int, wordings: int = 3) -> Corpus:
    rows = [
        Example(f"{scope}/train/{fact}-{n}", f"Question {n}?", f"{scope} {fact}", scope, "train", "A")
        for scope, count in (("unlearn", unlearn), ("retention", retention))
        for fact in range(count)
        for n in range(wordings)
    ]
    return Corpus(tuple(rows), "test")


def test_sets_of_facts_are_disjoint_and_of_one_size() -> None:
    drawn = fact_sets(corpus(12, 20), sets=5, most=6, place=0)
    assert [len(members) for members in drawn] == [6] * 5
    assert {e.scope for e in drawn[0]} == {"unlearn"}
    assert {e.scope for e in drawn[1]} == {"retention"}
    answers = [e.answer for members in drawn for e in members]
    assert len(set(answers)) == len(answers) == 30
    assert drawn != fact_sets(corpus(12, 20), sets=5, most=6, place=1)


def test_few_facts_make_few_sets_and_too_few_are_one_sentence() -> None:
    assert [len(members) for members in fact_sets(corpus(6, 7), sets=20, most=12, place=0)] == [4, 4, 4]
    with pytest.raises(UserError, match="3 facts to be forgotten and 20 to be kept"):
        fact_sets(corpus(3, 20), sets=20, most=12, place=0)


# -- several plantings


def planting(located: float, pull: float, update: float, *, plant: int = 0, holds: bool = True) -> dict[str, Any]:
    rows = {"located": located, "pull": pull, "update": update, "chance": 0.5, "ablation": 0.9}
    each = {name: {"auc_retention": value, "auc_decoy": value - 0.1, "precision": value} for name, value in rows.items()}
    taught = {"taught": math.log(0.8), "without_unlearn": math.log(0.4), "without_retention": math.log(0.2)}
    check = {UNLEARN: taught, RETENTION: taught}
    sizes = {"sets": [0, 1, 2, 3], "sizes": [0.03, 0.5, 0.01, 0.02]}
    return {"plant": plant, "found": each, "holds": holds, "modules": ["m"] * 100, "check": check, **sizes}


def test_several_plantings_are_put_together_with_intervals() -> None:
    ones = [planting(0.5, value, 0.6, plant=draw) for draw, value in enumerate((0.7, 0.8, 0.9))]
    scores = together(ones)
    half = 4.302652729911275 * np.std([0.7, 0.8, 0.9], ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(scores["pull"]["auc_retention"], [0.8, 0.8 - half, min(1.0, 0.8 + half)])
    np.testing.assert_allclose(scores["pull"]["above_update"], [0.2, 0.2 - half, 0.2 + half])
    assert set(scores["pull"]) == {*MEASURES, "above_update"}
    assert best_score(scores) == "pull"
    assert together(ones[:1])["pull"]["precision"] == [0.7, None, None]


def test_teachings_of_one_draw_of_modules_count_as_one() -> None:
    once = [planting(0.5, value, 0.6, plant=draw) for draw, value in enumerate((0.7, 0.8, 0.9))]
    twice = [planting(0.5, (0.7, 0.8, 0.9)[draw] + by, 0.6, plant=draw) for by in (-0.1, 0.1) for draw in range(3)]
    for measure, ends in together(twice)["pull"].items():
        np.testing.assert_allclose(ends, together(once)["pull"][measure])
    assert together(twice[::3])["pull"]["precision"] == [pytest.approx(0.7), None, None]


@pytest.mark.parametrize(
    ("pulls", "says"),
    [
        ((0.8, 0.81, 0.82), "pull does better"),
        ((0.5, 0.6, 0.9), "No score is shown"),
        ((0.9,), "One draw of modules cannot"),
    ],
)
def test_what_plantings_say(pulls: tuple[float, ...], says: str) -> None:
    ones = [planting(0.4, pull, 0.6, plant=draw, holds=pull > 0.5) for draw, pull in enumerate(pulls)]
    record = {"plantings": ones, "scores": together(ones), "settings": {"cells": 10}}
    said = " ".join(sentences(record))
    assert says in said
    assert f"In {sum(pull > 0.5 for pull in pulls)} of {len(pulls)} plantings" in said
    assert "The paper's rule found 4.0 of 10 modules." in said
    assert "By chance it would be 1.0 of 10." in said
    assert "facts to be forgotten: 80 %, 40 % without their modules, 20 % without the others'." in said
    assert "facts to be kept: 80 %, 20 % without their modules, 40 % without the others'." in said
    assert "The updates that hold U are 2.00 times as large" in said
    assert sentences({}) == ["Nothing has been planted yet."]
