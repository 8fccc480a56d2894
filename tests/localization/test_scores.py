"""Scores of modules: what is recorded against plain autograd, and that nothing depends on how ΔW is cut into factors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from core.config.stages import DataConfig, LocalizeConfig
from core.data import sources
from core.data.corpus import SCOPES
from core.localization import SCORES, best, scored
from core.localization.facts import Flags, fact_flags
from core.localization.margin import token_margin
from core.localization.recorder import Recorder, norm_of_update
from core.models.adapters import Adapters
from core.models.likelihood import answer_logits
from core.models.tokens import Encoded, by_length, collate
from core.pipeline import localize
from core.regions.scored import COLUMN
from core.regions.scored import SCORES as RECORDED
from tests.naive import Bench, example_loss, make_bench
from tests.naive import Recorder as Said
from tests.pipeline.test_localize import run
from tests.tiny import ARCHITECTURES

LABELS = LocalizeConfig(perturbation="labels", copies=3, batch_size=4)
CODE = LocalizeConfig(perturbation="code", copies=2, batch_size=4)
SEED = 4
PICKED = 4
"""modules of a chosen region, of 14"""


@pytest.fixture
def flags(bench: Bench, tiny_data: Path) -> Flags:
    return flags_of(bench, tiny_data)


def flags_of(bench: Bench, data: Path) -> Flags:
    corpus = sources.load(DataConfig(source=str(data)))
    examples = [e for scope in SCOPES for e in corpus.select(scope, "train")]
    return fact_flags(bench.loaded.tokenizer, examples, [*bench.unlearn, *bench.retention])


def recorded(bench: Bench, flags: Flags, config: LocalizeConfig = LABELS, **how: Any) -> pd.DataFrame:
    recorder = Recorder(bench.adapters, flags, seed=SEED, **{"sketch": 0, "every": 1, **how})
    for scope, part in (("unlearn", bench.unlearn), ("retention", bench.retention)):
        members, targets = localize.perturbed(part, config, bench.words, SEED)
        recorder.begin(scope, len(members))
        localize.gradient(bench.adapters, members, targets, 4, localize.Counter(Said(), 1), recorder)
    return recorder.record().set_index("name")


def modules(adapters: Adapters) -> list[str]:
    return list(dict.fromkeys(cell.name.rsplit(".lora_", 1)[0] for cell in adapters.cells))


def update_of(adapters: Adapters, name: str) -> torch.Tensor:
    layer: Any = adapters.layer(f"{name}.lora_A")
    return layer.get_delta_weight("before").detach()  # type: ignore[no-any-return]


def dense(bench: Bench) -> dict[str, torch.nn.Parameter]:
    """Take the adapters' place: W + ΔW as one weight that has a gradient; return module -> that weight, (out, in)."""
    weights = {}
    base: Any = bench.adapters.model
    for name in modules(bench.adapters):
        layer: Any = bench.adapters.layer(f"{name}.lora_A")
        weight = layer.get_base_layer().weight
        weight.data += layer.get_delta_weight("before")
        bench.adapters.tensor("before", f"{name}.lora_B").data.zero_()
        weights[name] = weight.requires_grad_(True)
    base.set_adapter("before")
    return weights


def single_gradients(
    bench: Bench, weights: dict[str, torch.nn.Parameter], members: list[Encoded], loss: Callable[[Encoded], torch.Tensor]
) -> list[dict[str, torch.Tensor]]:
    found = []
    for member in members:
        loss(member).backward()
        found.append({name: w.grad.clone().double() for name, w in weights.items() if w.grad is not None})
        for weight in weights.values():
            weight.grad = None
    return found


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "opt", "falcon"])
def test_what_is_recorded_is_what_autograd_says_of_a_dense_weight(
    bench_of: Callable[..., Bench], tiny_data: Path, architecture: str
) -> None:
    bench = bench_of(architecture)
    flags = flags_of(bench, tiny_data)
    table = recorded(bench, flags)
    updates = {name: update_of(bench.adapters, name).double() for name in modules(bench.adapters)}
    weights = dense(bench)
    model = bench.adapters.model

    def labels_loss(member: Encoded) -> torch.Tensor:
        _, targets = localize.perturbed([member], LABELS, bench.words, SEED)
        columns = targets([member]).T
        return torch.stack([example_loss(model, member, column.tolist()) for column in columns]).mean()

    def margin(member: Encoded) -> torch.Tensor:
        batch = collate([member])
        wanted = torch.tensor(flags[member.id])
        return token_margin(answer_logits(model, batch)[wanted], batch.targets[wanted]).mean()

    g = [single_gradients(bench, weights, part, labels_loss) for part in (bench.unlearn, bench.retention)]
    told = [[m for m in part if any(flags[m.id])] for part in (bench.unlearn, bench.retention)]
    m = [single_gradients(bench, weights, part, margin) for part in told]
    for name in weights:
        (gu, gr), (mu, mr) = ([torch.stack([e[name] for e in scope]).mean(0) for scope in both] for both in (g, m))
        row = table.loc[name]
        assert row["norm_unlearn"] == pytest.approx(float(gu.norm()), rel=1e-4)
        assert row["norm_retain"] == pytest.approx(float(gr.norm()), rel=1e-4)
        assert row["cos"] == pytest.approx(float((gu * gr).sum() / gu.norm() / gr.norm()), abs=1e-4)
        assert row["margin_unlearn"] == pytest.approx(float(mu.norm()), rel=1e-3)
        assert row["margin_cos"] == pytest.approx(float((mu * mr).sum() / mu.norm() / mr.norm()), abs=1e-3)
        assert row["squares_unlearn"] == pytest.approx(
            float(np.mean([float(e[name].square().sum()) for e in g[0]])), rel=1e-3
        )
        assert row["squares_retain"] == pytest.approx(
            float(np.mean([float(e[name].square().sum()) for e in g[1]])), rel=1e-3
        )
        scale = float(mu.norm() * updates[name].norm())
        assert row["removal_unlearn"] == pytest.approx(float((mu * updates[name]).sum()), abs=1e-4 * scale)
        assert row["removal_retain"] == pytest.approx(float((mr * updates[name]).sum()), abs=1e-4 * scale)
        assert row["norm_update"] == pytest.approx(float(updates[name].norm()), rel=1e-5)


def test_of_three_batches_with_facts_the_middle_one_has_its_margin_taken(bench: Bench, flags: Flags) -> None:
    recorder = Recorder(bench.adapters, flags, seed=SEED)
    told = [[next(m for m in bench.unlearn if any(flags[m.id]))]]
    none = [[dataclasses.replace(bench.unlearn[0], id="of nobody")]]
    taken = {count: recorder.sampled(told * count) for count in (1, 2, 3, 5, 8)}
    assert taken == {1: {0}, 2: {1}, 3: {1}, 5: {1, 4}, 8: {1, 4, 7}}
    assert recorder.sampled([*none, *told, *none, *none]) == {1}
    assert recorder.sampled(none) == set()


def test_a_sampled_margin_is_that_of_the_sampled_examples(bench: Bench, flags: Flags) -> None:
    """As if nothing but these had facts; what the labels say is what it was."""
    size = 4  # as `recorded` cuts them
    parts = [by_length(part, size) for part in (bench.unlearn, bench.retention)]
    told = [[batch for batch in part if any(any(flags[m.id]) for m in batch)] for part in parts]
    sample = {m.id for part in told for n, batch in enumerate(part) if n % 3 == min(1, len(part) - 1) for m in batch}
    assert 0 < len(sample) < len(flags)
    some = recorded(bench, flags, every=3)
    alone = recorded(bench, {name: marks if name in sample else (False,) * len(marks) for name, marks in flags.items()})
    pd.testing.assert_frame_equal(some, alone)
    whole = recorded(bench, flags)
    labels = ["norm_unlearn", "norm_retain", "cos", "squares_unlearn", "squares_retain", "norm_update"]
    pd.testing.assert_frame_equal(some[labels], whole[labels])
    assert not np.allclose(some["margin_unlearn"], whole["margin_unlearn"], rtol=1e-3)


# -- the gauge: A → cA, B → B/c


def rescaled(adapters: Adapters, c: float) -> None:
    for cell in adapters.cells:
        adapters.tensor("before", cell.name).data.mul_(c if cell.factor == "A" else 1 / c)


def jaccard(first: list[Any], second: list[Any]) -> float:
    return len(set(first) & set(second)) / len(set(first) | set(second))


@pytest.mark.parametrize("sketch", [0, 8], ids=["exact", "sketch"])
@pytest.mark.parametrize("score", SCORES)
def test_regions_do_not_depend_on_the_scale_of_the_factors(bench: Bench, flags: Flags, score: str, sketch: int) -> None:
    regions = []
    for step in (0.25, 4.0, 4.0):  # c = 1/4, then 1, then 4
        rescaled(bench.adapters, step)
        table = scored(recorded(bench, flags, sketch=sketch))
        regions.append(best(table[score], PICKED))
        assert len(regions[-1]) == PICKED
    assert [jaccard(regions[1], other) for other in regions] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_do_not_depend_on_the_factors(bench_of: Callable[..., Bench], tiny_data: Path, architecture: str) -> None:
    """Any invertible M: A → MA, B → BM⁻¹, of which a scale is one; here it rounds, so scores are equal but for that."""
    bench = bench_of(architecture)
    flags = flags_of(bench, tiny_data)
    first = scored(recorded(bench, flags, sketch=8))
    source = torch.Generator().manual_seed(2)
    for name in first.index[first["norm_unlearn"].notna()]:
        a, b = (bench.adapters.tensor("before", f"{name}.lora_{factor}").data for factor in "AB")
        mix = torch.eye(len(a), dtype=torch.float64) + 0.3 * torch.randn(
            len(a), len(a), generator=source, dtype=torch.float64
        )
        a.copy_(mix @ a.double())
        b.copy_(b.double() @ mix.inverse())
    second = scored(recorded(bench, flags, sketch=8))
    for score in SCORES:
        spread = float(first[score].std())
        np.testing.assert_allclose(second[score], first[score], atol=2e-3 * spread, err_msg=score)


def test_the_papers_rule_does_depend_on_it(bench: Bench, flags: Flags) -> None:
    """So that the tests above could have failed."""
    regions = []
    for step in (1.0, 0.25):
        rescaled(bench.adapters, step)
        regions.append(best(run(bench, LABELS).table["divergence"], 2 * PICKED))
    assert jaccard(*regions) < 1


# -- the sketch


def test_a_sketch_is_right_on_average_and_errs_by_no_more_than_is_said(bench: Bench, flags: Flags) -> None:
    exact, size = recorded(bench, flags), 16
    draws = []
    for seed in range(40):
        recorder = Recorder(bench.adapters, flags, seed=seed, sketch=size)
        draws.append(omega := recorder._projection(exact.index[0], recorder.layers[exact.index[0]]))
        assert omega.shape == (32, size)
    torch.manual_seed(0)
    for g in (torch.outer(torch.randn(24), torch.randn(32)), torch.randn(24, 32)):
        squares = torch.stack([(g @ omega).square().sum() for omega in draws]) / g.square().sum()
        said = math.sqrt(2 / size) * float((g.t() @ g).norm() / g.square().sum())
        assert abs(float(squares.mean()) - 1) < 4 * said / math.sqrt(len(draws))
        assert float(squares.std()) < 1.35 * said  # of 40 draws


def test_a_sketched_record_is_near_the_exact_one(bench: Bench, flags: Flags) -> None:
    exact, near = recorded(bench, flags), recorded(bench, flags, sketch=16)
    for column in ("norm_unlearn", "norm_retain", "margin_unlearn", "margin_retain"):
        error = np.log(near[column] / exact[column])
        assert 0 < float(np.sqrt((error**2).mean())) < math.sqrt(2 / 16) / 2  # a length errs by half as much as its square
    for column in ("squares_unlearn", "squares_retain"):
        assert 0 < float(np.sqrt((np.log(near[column] / exact[column]) ** 2).mean())) < math.sqrt(2 / 16)
    for column in ("removal_unlearn", "removal_retain", "norm_update", "draw"):
        np.testing.assert_array_equal(near[column], exact[column])
    narrow = recorded(bench, flags, sketch=64)  # wider than any input here: nothing is gained by it
    pd.testing.assert_frame_equal(narrow, exact)


# -- the stage


def test_recording_changes_nothing_else(bench: Bench, flags: Flags) -> None:
    before = bench.adapters.hash("before")
    plain, watched = run(bench, LABELS), run(bench, LABELS, facts=flags)
    more = [COLUMN.format(score) for score in RECORDED]
    pd.testing.assert_frame_equal(plain.table, watched.table.drop(columns=more), check_exact=True)
    pd.testing.assert_frame_equal(plain.contributions, watched.contributions, check_exact=True)
    assert watched.table[more].notna().all(axis=None)
    assert bench.adapters.hash("before") == before
    assert not any(p.requires_grad or p.grad is not None for p in bench.adapters.model.parameters())
    assert not any(m._forward_hooks for m in bench.adapters.model.modules())


def test_with_overwritten_inputs_the_margin_is_still_that_of_true_answers(bench: Bench, flags: Flags) -> None:
    first, second = (run(bench, config, facts=flags).table for config in (LABELS, CODE))
    np.testing.assert_allclose(second["score_removal"], first["score_removal"], rtol=1e-3, atol=1e-5)
    assert not np.allclose(second["norm_unlearn"], first["norm_unlearn"], rtol=1e-2)


def test_without_gradients_what_is_left_is_the_same(bench: Bench, flags: Flags) -> None:
    whole, short = recorded(bench, flags), recorded(bench, flags, gradients=False)
    pd.testing.assert_frame_equal(short, whole[list(short)])
    assert {"removal_unlearn", "removal_retain", "norm_update"} < set(short)
    assert set(scored(short, RECORDED)) == {*short, *RECORDED}


def test_progress_ends_at_its_total_with_either_perturbation(bench: Bench, flags: Flags) -> None:
    for config in (LABELS, CODE):
        run(bench, config, said := Said(), flags)
        assert said.steps[-1]["done"] == said.steps[-1]["total"]


def test_fused_experts_have_only_what_can_be_known_of_them(bench_of: Callable[..., Bench], tiny_data: Path) -> None:
    bench = bench_of("mixtral")
    table = scored(recorded(bench, flags_of(bench, tiny_data)))
    # peft takes the experts' and the router's parameters by name: they are no layers that a hook could watch.
    experts = table["module"].str.contains("experts|gate")
    assert experts.any()
    assert table.loc[~experts, list(SCORES)].notna().all(axis=None)
    assert table.loc[experts, ["update", "chance"]].notna().all(axis=None)
    assert table.loc[experts, ["pull", "ratio", "fisher", "margin", "removal"]].isna().all(axis=None)
    assert (table["norm_update"] > 0).all()


def test_a_fresh_adapter_has_gradients_and_no_update(bench_of: Callable[..., Bench], tiny_data: Path) -> None:
    bench = bench_of("llama", live=False)
    table = scored(recorded(bench, flags_of(bench, tiny_data)))
    assert (table["norm_unlearn"] > 0).all()
    assert (table[["update", "pull", "margin", "removal"]] == 0).all(axis=None)
    assert table["ratio"].notna().all()


def test_the_output_layers_update_is_scored_too(tiny_llama: Path, tiny_data: Path) -> None:
    bench = make_bench(tiny_llama, tiny_data, targets=("q_proj", "lm_head"))
    exact, near = (recorded(bench, flags_of(bench, tiny_data), sketch=size) for size in (0, 16))
    for column in ("norm_unlearn", "squares_unlearn"):
        np.testing.assert_allclose(near[column], exact[column], rtol=1.0)
    single = recorded(bench, flags_of(bench, tiny_data), config=LocalizeConfig(copies=3, batch_size=1))
    np.testing.assert_allclose(single["squares_unlearn"], exact["squares_unlearn"], rtol=1e-4)


def test_norm_of_an_update_is_that_of_the_product(bench: Bench) -> None:
    for name in modules(bench.adapters):
        assert norm_of_update(bench.adapters, name) == pytest.approx(float(update_of(bench.adapters, name).norm()), rel=1e-5)


# -- the table


def test_every_score_is_one_sentence_without_greek() -> None:
    for name, score in SCORES.items():
        assert name == score.name
        assert score.sentence.endswith(".")
        assert score.sentence.count(".") == 1
        assert len(score.sentence.split()) <= 22
        assert score.sentence.isascii()


def test_best_are_the_highest_that_have_a_value() -> None:
    values = pd.Series([1.0, math.nan, 3.0, 3.0, 2.0], index=list("abcde"))
    assert best(values, 3) == ["c", "d", "e"]
    assert best(values, 9) == ["c", "d", "e", "a"]


def test_facts_are_marked_and_a_scope_without_any_is_taken_whole(bench: Bench, tiny_data: Path) -> None:
    corpus = sources.load(DataConfig(source=str(tiny_data)))
    examples = [e for scope in SCOPES for e in corpus.select(scope, "train")]
    encoded = [*bench.unlearn, *bench.retention]
    flags = fact_flags(bench.loaded.tokenizer, examples, encoded)
    text = {e.id: e.answer for e in examples}
    assert any("@" in text[i] for i in flags)
    for e in encoded:
        assert len(flags[e.id]) == len(e.answer)
        assert not flags[e.id][-1]
        said = bench.loaded.tokenizer.decode([t for t, flag in zip(e.answer, flags[e.id], strict=True) if flag])
        assert len(said) < len(text[e.id])
    plain = [dataclasses.replace(e, answer="it is so") if e.scope == "retention" else e for e in examples]
    whole = fact_flags(bench.loaded.tokenizer, plain, encoded)
    for e in bench.retention:
        assert whole[e.id] == (*[True] * (len(e.answer) - 1), False)
