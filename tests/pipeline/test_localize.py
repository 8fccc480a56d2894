"""Localization against a loop that takes one example, one copy and one label at a time, without padding."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from core.config.run_config import RunConfig
from core.config.stages import LocalizeConfig
from core.data.corpus import Corpus, Example
from core.localization.facts import Flags
from core.models.tokens import Encoded
from core.pipeline import localize, region
from core.pipeline.localize import TOP, Localization
from core.util.errors import Cancelled, UserError
from tests.naive import Bench, Recorder, example_loss, gradients, make_bench, plain_model
from tests.tiny import ARCHITECTURES

SEED = 4
LABELS = LocalizeConfig(perturbation="labels", copies=3, batch_size=4)
CODE = LocalizeConfig(perturbation="code", copies=3, batch_size=4)


def run(bench: Bench, config: LocalizeConfig, report: Recorder | None = None, facts: Flags | None = None) -> Localization:
    return localize.localize(
        bench.adapters,
        bench.unlearn,
        bench.retention,
        config,
        held={},
        words=bench.words,
        facts=facts,
        seed=SEED,
        report=report or Recorder(),
    )


def variants(bench: Bench, example: Encoded, config: LocalizeConfig) -> list[tuple[Encoded, list[int]]]:
    """Return every perturbed copy of an example with its labels, drawn anew for this example alone."""
    members, targets = localize.perturbed([example], config, bench.words, SEED)
    if config.perturbation == "labels":
        return [(members[0], column.tolist()) for column in targets(members).T]
    return [(member, targets([member]).tolist()) for member in members]


def naive_gradients(bench: Bench, examples: list[Encoded], config: LocalizeConfig) -> dict[str, dict[str, torch.Tensor]]:
    """Return example id -> cell -> mean gradient over the copies, through peft's own layers."""
    model = plain_model(bench.adapters, "before")
    by_example = {}
    for example in examples:
        copies = variants(bench, example, config)
        for member, labels in copies:
            (example_loss(model, member, labels) / len(copies)).backward()
        by_example[example.id] = gradients(bench.adapters, "before")
    model.requires_grad_(False)
    return by_example


def mean(by_example: dict[str, dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    cells = next(iter(by_example.values()))
    return {cell: torch.stack([g[cell] for g in by_example.values()]).mean(0) for cell in cells}


def batched_gradients(bench: Bench, examples: list[Encoded], config: LocalizeConfig) -> dict[str, torch.Tensor]:
    members, targets = localize.perturbed(examples, config, bench.words, SEED)
    counter = localize.Counter(Recorder(), 1)
    return localize.gradient(bench.adapters, members, targets, config.batch_size, counter)


@pytest.mark.parametrize("config", [LABELS, CODE], ids=["labels", "code"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batched_gradients_equal_the_loop(bench_of: Callable[..., Bench], architecture: str, config: LocalizeConfig) -> None:
    bench = bench_of(architecture)
    assert len({len(m.ids) for m in bench.unlearn[:4]}) > 1  # so that batches are padded
    batched = batched_gradients(bench, bench.unlearn, config)
    expected = mean(naive_gradients(bench, bench.unlearn, config))
    assert batched.keys() == expected.keys()
    largest = max(float(g.norm()) for g in expected.values())
    for cell, value in expected.items():
        assert float(value.norm()) > 0, cell
        # A tensor whose gradient all but cancels is compared on the scale of the others.
        scale = max(float(value.norm()), 1e-3 * largest)
        assert float((batched[cell] - value).norm()) <= 1e-5 * scale, cell


@pytest.mark.parametrize("config", [LABELS, CODE], ids=["labels", "code"])
def test_batch_size_does_not_matter(bench: Bench, config: LocalizeConfig) -> None:
    import dataclasses

    first = batched_gradients(bench, bench.unlearn, config)
    second = batched_gradients(bench, bench.unlearn, dataclasses.replace(config, batch_size=1))
    for cell, value in first.items():
        assert float((second[cell] - value).norm()) <= 1e-5 * float(value.norm())


def test_teaching_dropout_does_not_reach_localization(bench: Bench) -> None:
    expected = batched_gradients(bench, bench.unlearn, LABELS)
    for layer in bench.adapters._layers.values():
        layer.lora_dropout["before"] = torch.nn.Dropout(0.5)
    bench.adapters.model.eval()
    batched = batched_gradients(bench, bench.unlearn, LABELS)
    for cell, value in expected.items():
        torch.testing.assert_close(batched[cell], value)


# -- perturbations


def test_random_labels_stand_at_every_answer_position_but_the_end(bench: Bench) -> None:
    members, targets = localize.perturbed(bench.unlearn, LABELS, bench.words, SEED)
    assert members == bench.unlearn
    for member in members:
        labels = targets([member])
        assert labels.shape == (len(member.answer), 3)
        assert labels[-1].tolist() == [member.answer[-1]] * 3
        assert set(labels[:-1].flatten().tolist()) <= set(bench.words.tolist())


def test_random_labels_are_uniform_over_ordinary_tokens() -> None:
    words = torch.arange(3, 13)
    long = Encoded("a", tuple([5] * 4000), 1)
    _, targets = localize.perturbed([long], LABELS, words, SEED)
    counts = torch.bincount(targets([long])[:-1].flatten(), minlength=13)
    assert counts[:3].tolist() == [0, 0, 0]
    share = counts[3:] / counts.sum()
    assert float((share - 0.1).abs().max()) < 0.015


def test_draws_depend_on_seed_example_and_copy_only(bench: Bench) -> None:
    config, words = LABELS, bench.words
    _, first = localize.perturbed(bench.unlearn, config, words, 0)
    _, alone = localize.perturbed(bench.unlearn[2:3], config, words, 0)
    _, other = localize.perturbed(bench.unlearn, config, words, 1)
    one = [bench.unlearn[2]]
    assert torch.equal(first(one), alone(one))
    assert not torch.equal(first(one), other(one))
    assert not torch.equal(first(one)[:, 0], first(one)[:, 1])
    assert not torch.equal(first([bench.unlearn[0]])[:3], first([bench.unlearn[1]])[:3])


def test_code_perturbation_overwrites_half_with_replacement_in_inputs_and_labels() -> None:
    words = torch.tensor([50])
    example = Encoded("a", (7, 7, *([9] * 41), 1), 2)
    config = LocalizeConfig(perturbation="code", copies=40)
    members, targets = localize.perturbed([example], config, words, SEED)
    assert len(members) == 40
    changed = []
    for member in members:
        assert member.ids[:2] == (7, 7)
        assert targets([member]).tolist() == list(member.answer)
        changed.append(sum(token == 50 for token in member.answer))
        assert member.answer[-1] == 1
        assert set(member.answer[:-1]) <= {9, 50}
    assert max(changed) <= 20
    # 20 draws with replacement over 41 places hit 41 · (1 − (1 − 1/41)^20) ≈ 16 different ones.
    assert sum(changed) / 40 == pytest.approx(41 * (1 - (1 - 1 / 41) ** 20), abs=0.8)


@pytest.mark.parametrize("perturbation", ["code", "labels"])
def test_what_was_cut_has_no_end_that_stays(perturbation: str) -> None:
    config = LocalizeConfig(perturbation=perturbation, copies=30)
    cut = [Encoded(str(n), (7, 7, *([9] * n)), 2, ended=False) for n in (1, 2)]
    members, targets = localize.perturbed(cut, config, torch.tensor([50]), SEED)
    last = {int(targets([member]).reshape(-1, len(member.answer))[0, -1]) for member in members if len(member.answer) == 2}
    assert 50 in last
    assert {len(member.answer) for member in members} == {1, 2}


# -- statistics


def test_statistics_equal_their_definitions(bench: Bench) -> None:
    g_u = mean(naive_gradients(bench, bench.unlearn, LABELS))
    g_r = mean(naive_gradients(bench, bench.retention, LABELS))
    table = run(bench, LABELS).table.set_index("name")
    assert list(table.index) == [c.name for c in bench.adapters.cells]
    for cell in bench.adapters.cells:
        u, r = g_u[cell.name].double().numpy().ravel(), g_r[cell.name].double().numpy().ravel()
        row = table.loc[cell.name]
        cos = float(u @ r) / math.sqrt(float(u @ u) * float(r @ r))
        assert row["cos"] == pytest.approx(cos, abs=1e-5)
        assert row["mag_unlearn"] == pytest.approx(np.abs(u).mean(), rel=1e-4)
        assert row["mag_retain"] == pytest.approx(np.abs(r).mean(), rel=1e-4)
        assert row["norm_unlearn"] == pytest.approx(np.linalg.norm(u), rel=1e-4)
        assert row["norm_retain"] == pytest.approx(np.linalg.norm(r), rel=1e-4)
        assert row["divergence"] == pytest.approx((1 - cos) * np.abs(u).mean(), rel=1e-3)
        assert (row["layer"], row["module"], row["factor"]) == (cell.layer, cell.module, cell.factor)
        assert (row["rows"], row["columns"]) == cell.shape
        assert row["has_gradient"]


def test_dead_tensor_has_no_cosine(bench: Bench) -> None:
    cells = bench.adapters.cells[:3]
    live = {c.name: torch.ones(c.shape) for c in cells}
    dead = live | {cells[1].name: torch.zeros(cells[1].shape)}
    for pair in ((live, dead), (dead, live)):
        table = localize.statistics(cells, *pair)
        assert table["has_gradient"].tolist() == [True, False, True]
        assert math.isnan(table["cos"][1])
        assert table["cos"][0] == pytest.approx(1)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mixtral"])
def test_fresh_adapter_has_gradients_in_b_only(bench_of: Callable[..., Bench], architecture: str) -> None:
    table = run(bench_of(architecture, live=False), LABELS).table
    assert table.loc[table["factor"] == "A", "has_gradient"].sum() == 0
    assert table.loc[table["factor"] == "A", "cos"].isna().all()
    assert table.loc[table["factor"] == "B", "has_gradient"].all()


def test_gradient_that_is_no_number_is_one_sentence(bench: Bench) -> None:
    bench.adapters.tensor("before", bench.adapters.cells[-1].name).data.fill_(float("inf"))
    with pytest.raises(UserError, match="not a number"):
        run(bench, LABELS)


# -- shares of examples


def shares_of(bench: Bench, config: LocalizeConfig) -> pd.DataFrame:
    members, targets = localize.perturbed(bench.unlearn, config, bench.words, SEED)
    counter = localize.Counter(Recorder(), 1)
    total = localize.gradient(bench.adapters, members, targets, config.batch_size, counter)
    return localize.example_shares(bench.adapters, members, targets, total, config.batch_size, counter)


@pytest.mark.parametrize("config", [LABELS, CODE], ids=["labels", "code"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_shares_equal_those_of_single_gradients(
    bench_of: Callable[..., Bench], architecture: str, config: LocalizeConfig
) -> None:
    bench = bench_of(architecture)
    shares = shares_of(bench, config)
    single = naive_gradients(bench, bench.unlearn, config)
    total = mean(single)
    assert list(shares.index) == [m.id for m in bench.unlearn]
    assert set(shares.columns) == {c.name for c in bench.adapters.cells}
    for cell, g in total.items():
        for example, own in single.items():
            expected = float((own[cell].double() * g.double()).sum() / (len(single) * g.double().square().sum()))
            assert shares.loc[example, cell] == pytest.approx(expected, abs=2e-4), (cell, example)


def test_shares_of_the_output_layer_are_those_of_single_gradients(tiny_llama: Path, tiny_data: Path) -> None:
    bench = make_bench(tiny_llama, tiny_data, targets=("q_proj", "lm_head"))
    shares, single = shares_of(bench, LABELS), naive_gradients(bench, bench.unlearn, LABELS)
    total = mean(single)
    for cell in (c.name for c in bench.adapters.cells if "lm_head" in c.name):
        for example, own in single.items():
            expected = float(
                (own[cell].double() * total[cell].double()).sum() / (len(single) * total[cell].double().square().sum())
            )
            assert shares.loc[example, cell] == pytest.approx(expected, abs=2e-4), (cell, example)


@pytest.mark.parametrize("config", [LABELS, CODE], ids=["labels", "code"])
def test_shares_of_a_cell_sum_to_one(bench: Bench, config: LocalizeConfig) -> None:
    np.testing.assert_allclose(shares_of(bench, config).sum().to_numpy(), 1.0, atol=1e-4)


def test_contributions_are_the_largest_shares(bench: Bench) -> None:
    shares, contributions = shares_of(bench, LABELS), run(bench, LABELS).contributions
    for cell in bench.adapters.cells:
        mine = contributions[contributions["name"] == cell.name]
        expected = shares[cell.name].sort_values(ascending=False)[:TOP]
        assert mine["share"].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-6)
        assert mine["example"].tolist() == expected.index.tolist()


def test_at_most_ten_contributions_a_cell() -> None:
    shares = pd.DataFrame({"cell": np.linspace(0, 1, 25)}, index=[f"e{i}" for i in range(25)])
    contributions = localize.top_contributions(shares, pd.DataFrame({"name": ["cell", "dead"]}))
    assert contributions["example"].tolist() == [f"e{i}" for i in range(24, 14, -1)]


# -- the whole stage


def test_same_seed_gives_the_same_bits(bench_of: Callable[..., Bench]) -> None:
    first, second = (run(bench_of("llama"), LABELS) for _ in range(2))
    pd.testing.assert_frame_equal(first.table, second.table, check_exact=True)
    pd.testing.assert_frame_equal(first.contributions, second.contributions, check_exact=True)


def test_adapters_are_unchanged_and_without_gradients(bench: Bench) -> None:
    before = bench.adapters.hash("before")
    run(bench, LABELS)
    assert bench.adapters.hash("before") == before
    assert not any(p.requires_grad or p.grad is not None for p in bench.adapters.model.parameters())


def test_progress_ends_at_its_total(bench: Bench) -> None:
    report = Recorder()
    run(bench, LABELS, report)
    assert report.steps[-1]["done"] == report.steps[-1]["total"]


def test_cancel_stops_within_a_batch(bench: Bench) -> None:
    with pytest.raises(Cancelled):
        run(bench, LABELS, Recorder(stop_at=2))


def many(subjects: dict[str, int]) -> Corpus:
    """Return a corpus with so many train and val questions about each subject in both scopes."""
    return Corpus(
        tuple(
            Example(f"{scope}/{split}/{subject}{n}", f"{n}?", f"{n}.", scope, split, subject)
            for scope in ("unlearn", "retention")
            for split in ("train", "val")
            for subject, count in subjects.items()
            for n in range(count)
        ),
        "made",
    )


@pytest.mark.parametrize(
    ("most", "taken"), [(0, (7, 2, 5)), (3, (1, 1, 1)), (6, (2, 2, 2)), (9, (4, 2, 3)), (99, (7, 2, 5))]
)
def test_gradients_are_taken_of_a_sample_that_is_even_over_subjects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, taken: tuple[int, ...]
) -> None:
    corpus, given = many({"a": 7, "b": 2, "c": 5}), dict[str, Any]()

    class Voices:
        def known(self, examples: list[Example]) -> list[Example]:
            return examples

    class Stop(Exception):
        pass

    def caught(_: Any, unlearn: Any, retention: Any, config: Any, *, held: Any, **__: Any) -> None:
        given.update(unlearn=unlearn, retention=retention, val=held["val"])
        raise Stop

    monkeypatch.setattr(region, "localize", caught)
    config = RunConfig().with_setting("localize.most", most).with_setting("localize.scores", False)
    state = SimpleNamespace(
        config=config, corpus=corpus, voices=Voices(), adapters=None, words=list, report=None, group=None
    )
    with pytest.raises(Stop):
        region.located(state, tmp_path)  # type: ignore[arg-type]
    for members in (given["unlearn"], given["retention"], *given["val"]):
        assert tuple(sum(e.subject == subject for e in members) for subject in "abc") == taken
        order = [e.id for e in corpus.examples]
        assert [e.id for e in members] == sorted((e.id for e in members), key=order.index)
    assert {e.scope for e in given["unlearn"]} == {"unlearn"}
    assert {e.split for e in given["retention"]} == {"train"}


def test_who_is_sampled_of_a_subject_depends_on_no_other() -> None:
    alone, beside = many({"a": 7}).sample(2), many({"a": 7, "b": 7}).sample(4)
    assert [e.id for e in alone.examples] == [e.id for e in beside.examples if e.subject == "a"]
