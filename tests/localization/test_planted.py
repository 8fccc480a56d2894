"""Planted truth on a tiny model: what is planted lies where it should, and what finds it is told apart from chance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from core.config.stages import LocalizeConfig
from core.localization import SCORES
from core.localization.ablation import ablation
from core.localization.facts import Flags
from core.localization.planted import DECOY, RETENTION, ROLES, UNLEARN, Planted, Planting, drawn, found, plant
from core.models.tokens import Encoded
from core.pipeline import localize
from core.util.errors import UserError
from tests.localization.test_scores import flags_of, modules
from tests.naive import Bench, Recorder, make_bench

TINY = Planting(modules=8, steps=60, batch_size=2, size=0.0)
FACTS = 2
"""examples that each set of modules learns: a random model of this size holds no more"""
Sets = dict[str, list[Encoded]]


@pytest.fixture(scope="module")
def planted(deep_tiny_of: Callable[[str], Path], tiny_data: Path) -> tuple[Bench, Flags, Planted]:
    bench = make_bench(deep_tiny_of("llama"), tiny_data, live=False, rank=16)
    flags = flags_of(bench, tiny_data)
    return bench, flags, plant(bench.adapters, sets(bench, flags), flags, TINY)


def sets(bench: Bench, flags: Flags) -> Sets:
    half = len(bench.retention) // 2
    whole = {UNLEARN: bench.unlearn, RETENTION: bench.retention[:half], DECOY: bench.retention[half:]}
    return {role: [m for m in members if any(flags[m.id])][:FACTS] for role, members in whole.items()}


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


def test_scores_are_asked_blindly(planted: tuple[Bench, Flags, Planted]) -> None:
    bench, flags, truth = planted
    members = sets(bench, flags)
    table = localize.localize(
        bench.adapters,
        members[UNLEARN],
        members[RETENTION],
        LocalizeConfig(copies=3),
        held={},
        words=bench.words,
        facts=flags,
        seed=0,
        report=Recorder(),
    ).modules
    assert table is not None
    scores = table.set_index("name")[list(SCORES)]
    oracle = ablation(bench.adapters, members[UNLEARN], members[RETENTION], flags)
    scores["ablation"] = oracle.set_index("name")["difference"]
    result = found(truth.roles, scores)
    assert list(result.index) == [*SCORES, "ablation"]
    # A random model of this size holds facts badly, and its sets lean on each other: far from 1, and above chance.
    assert result.loc["ablation", "auc_retention"] > 0.6


def test_same_seed_plants_the_same_and_another_elsewhere(deep_tiny_of: Callable[[str], Path], tiny_data: Path) -> None:
    bench = make_bench(deep_tiny_of("llama"), tiny_data, live=False)
    flags, few = flags_of(bench, tiny_data), Planting(modules=3, steps=2)
    hashes = []
    for _ in range(2):
        first = plant(bench.adapters, sets(bench, flags), flags, few)
        hashes.append(bench.adapters.hash("before"))
    assert hashes[0] == hashes[1]
    assert drawn(bench.adapters, Planting(modules=3, seed=1)) != first.roles


def test_modules_learn_from_their_own_facts_alone(deep_tiny_of: Callable[[str], Path], tiny_data: Path) -> None:
    """After one step other facts for U have left all other modules as they are."""
    bench = make_bench(deep_tiny_of("llama"), tiny_data, live=False)
    flags, one = flags_of(bench, tiny_data), Planting(modules=3, steps=1, size=0.0)
    members = sets(bench, flags)
    first = plant(bench.adapters, members, flags, one)
    before = {name: p.detach().clone() for name, p in bench.adapters.tensors("before").items()}
    plant(bench.adapters, members | {UNLEARN: members[UNLEARN][:1]}, flags, one)
    moved = {
        name.rsplit(".lora_", 1)[0]
        for name, p in bench.adapters.tensors("before").items()
        if not torch.equal(p, before[name])
    }
    assert moved == {name for name, role in first.roles.items() if role == UNLEARN}


def test_no_update_passes_its_limit(deep_tiny_of: Callable[[str], Path], tiny_data: Path) -> None:
    bench = make_bench(deep_tiny_of("llama"), tiny_data, live=False)
    flags = flags_of(bench, tiny_data)
    truth = plant(bench.adapters, sets(bench, flags), flags, Planting(modules=3, steps=3, size=0.01))
    np.testing.assert_allclose(truth.sizes, 0.01, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["mixtral", "llama"])
def test_models_without_enough_linear_layers_are_one_sentence(bench_of: Callable[..., Bench], architecture: str) -> None:
    with pytest.raises(UserError, match="cannot be planted"):
        drawn(bench_of(architecture).adapters, Planting(modules=10))


def test_found_counts_pairs_and_the_highest() -> None:
    roles = {"a": UNLEARN, "b": UNLEARN, "c": RETENTION, "d": RETENTION, "e": DECOY}
    scores = pd.DataFrame({"s": [4.0, 2.0, 3.0, 1.0, np.nan]}, index=list("abcde"))
    row = found(roles, scores).loc["s"]
    assert row["auc_retention"] == 0.75
    assert row["auc_decoy"] == 1.0
    assert row["precision"] == 0.5
    assert row["auc_retention_low"] <= 0.75 <= row["auc_retention_high"]
