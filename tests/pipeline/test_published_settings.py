"""What the released code does and our defaults do not: its batches, dropout, clipping and passes, against plain sums."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from core.config.run_config import RunConfig, preset, with_method
from core.config.stages import LocalizeConfig, TeachConfig, UnlearnConfig
from core.methods.ga_kl_id import AscentKLID
from core.methods.grad_diff_id import GradDiffID
from core.methods.gradient_ascent import GradientAscent
from core.methods.memflex import MemFlex
from core.methods.npo import NPO
from core.metrics import evaluation
from core.models.tokens import Encoded, collate
from core.pipeline import inputs, pipeline, region, teach
from core.pipeline import unlearn_loop as unlearn_
from core.pipeline.setup import set_up
from core.pipeline.supply import Supply, streams
from core.runs import store
from core.util.errors import UserError
from tests.naive import Bench, Recorder, example_loss, gradients, plain_model
from tests.tiny import make_copyright

PAPER = MemFlex(forget_weight=0.4, retain_weight=2.0, forget_ceiling=0.0)
ONE = UnlearnConfig(method=PAPER, learning_rate=0.01, warmup=0.0, steps=1, check_every=1, stop="never", retain_floor=0.0)


def one_step(bench: Bench, look: Callable[[], None] = lambda: None, **values: Any) -> dict[str, torch.Tensor]:
    """Make one step of a plain descent on all tensors; return the gradient that it followed. look: called at the check."""
    config, cells = dataclasses.replace(ONE, **values), [c.name for c in bench.adapters.cells]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", lambda p, lr, weight_decay: torch.optim.SGD(p, lr=lr))
        unlearn_.unlearn(
            bench.adapters,
            cells,
            Supply(bench.unlearn, bench.retention),
            unlearn_.Watched(bench.unlearn, bench.retention, None),
            config,
            unlearn_.Callbacks(Recorder(), lambda step, tensors: look()),
            seed=0,
        )
    tensors = bench.adapters.tensor
    return {n: (tensors("before", n) - tensors("after", n)).detach() / config.learning_rate for n in cells}


def drawn(bench: Bench, config: UnlearnConfig, steps: int = 1) -> list[dict[str, list[Encoded]]]:
    batches = streams(Supply(bench.unlearn, bench.retention), config, torch.Generator().manual_seed(0))
    return [next(batches) for _ in range(steps)]


def assert_same(step: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    for name, value in step.items():
        assert float((value - expected[name]).norm()) < 2e-3 * float(expected[name].norm()) + 2e-5, name


# -- mixed batches


@pytest.mark.parametrize("size", [5, 1])
def test_in_a_mixed_batch_each_example_has_the_weight_of_one(bench: Bench, size: int) -> None:
    (members,) = drawn(bench, dataclasses.replace(ONE, mixed=True, batch_size=size))
    assert sum(map(len, members.values())) == size
    model = plain_model(bench.adapters, "before")
    for stream, weight in (("forget", -0.4), ("retain", 2.0)):
        for member in members[stream]:
            (weight * example_loss(model, member) / size).backward()
    model.requires_grad_(False)
    expected = gradients(bench.adapters, "before")
    assert_same(one_step(bench, mixed=True, batch_size=size), expected)


@pytest.mark.parametrize("method", [GradDiffID(), AscentKLID()])
def test_a_mixed_batch_without_one_of_the_scopes_is_a_step_all_the_same(bench: Bench, method: Any) -> None:
    # Of one example each; the divergence from before has no gradient until something has moved.
    moved = one_step(bench, mixed=True, batch_size=1, method=method, steps=5)
    assert all(torch.isfinite(value).all() for value in moved.values())


def test_mixed_batches_keep_one_order_with_as_many_of_each_scope(bench: Bench) -> None:
    more = dataclasses.replace(bench, unlearn=bench.unlearn[:3])  # of six retention examples three are used
    steps = drawn(more, dataclasses.replace(ONE, mixed=True, batch_size=2), 6)
    seen = [m.id for step in steps for m in (*step["forget"], *step["retain"])]
    assert {*seen[:6]} == {*seen[6:]} == {m.id for m in (*more.unlearn, *bench.retention[:3])}
    assert [{m.id for part in step.values() for m in part} for step in steps[:3]] == [
        {m.id for part in step.values() for m in part} for step in steps[3:]
    ]


def test_a_method_that_is_no_sum_over_examples_refuses_mixed_batches() -> None:
    config = UnlearnConfig(mixed=True)
    with pytest.raises(UserError, match="mixed batch"):
        config.check(NPO(), has_never=True)
    config.check(PAPER, has_never=True)
    config.check(GradientAscent(), has_never=True)  # of one scope: nothing is mixed


# -- passes, clipping, dropout


def test_two_passes_over_the_benchmark_are_the_papers_hundred_steps() -> None:
    config = UnlearnConfig(epochs=2, batch_size=16, mixed=True, steps=1000)
    assert config.course(400, 441).steps == config.course(403, 901).steps == 100  # privacy and copyright
    assert config.course(400, 100).steps == 62
    assert dataclasses.replace(config, mixed=False).course(400, 0).steps == 50
    assert dataclasses.replace(config, steps=7).course(400, 441).steps == 7
    assert dataclasses.replace(config, epochs=0).course(400, 441).steps == 1000


def test_a_longer_gradient_is_shortened_and_a_shorter_one_is_not(bench: Bench) -> None:
    whole = one_step(bench)
    length = float(torch.cat([v.flatten() for v in whole.values()]).norm())
    assert_same(one_step(bench, clip=length / 3), {name: value / 3 for name, value in whole.items()})
    assert_same(one_step(bench, clip=length * 3), whole)


def test_dropout_is_that_of_pefts_own_layers_and_rests_where_something_is_measured(bench: Bench) -> None:
    measured: list[torch.Tensor] = []

    def look() -> None:
        with bench.adapters.active("after") as model, torch.no_grad():
            measured.extend(model(input_ids=torch.tensor([bench.unlearn[0].ids])).logits for _ in range(3))

    step = one_step(bench, look, dropout=0.3, batch_size=99, retain_batch_size=99)
    assert len(measured) >= 3
    assert all(torch.equal(measured[0], other) for other in measured), "it is at work in steps alone"
    (members,) = drawn(bench, dataclasses.replace(ONE, batch_size=99, retain_batch_size=99))
    batch = collate([*members["forget"], *members["retain"]])
    with bench.adapters.dropout("before", 0.3):
        model = plain_model(bench.adapters, "before")
        torch.manual_seed(0)
        logits = model(input_ids=batch.ids, attention_mask=batch.mask).logits
        loss = torch.zeros(())
        for row, member in enumerate(batch.members):
            said = logits[row, member.start - 1 : len(member.ids) - 1]
            nll = torch.nn.functional.cross_entropy(said, torch.tensor(member.answer))
            forgets = row < len(members["forget"])
            loss = loss + (-0.4 / len(members["forget"]) if forgets else 2.0 / len(members["retain"])) * nll
        loss.backward()
        model.requires_grad_(False)
    expected = gradients(bench.adapters, "before")
    assert_same(step, expected)
    without = one_step(bench, batch_size=99, retain_batch_size=99)
    assert any(float((without[n] - step[n]).norm()) > 0.01 * float(step[n].norm()) for n in step)
    layer = bench.adapters.layer(next(iter(step)))
    assert isinstance(layer.lora_dropout["before"], torch.nn.Identity)


# -- teaching and localization


def test_teaching_rises_as_long_as_it_is_told() -> None:
    assert [teach.rate(step, 100, 0.05) for step in (0, 4, 5)] == [0.2, 1.0, 1.0]
    assert teach.rate(0, 100) == 0.1


def test_teaching_decays_weights(bench: Bench) -> None:
    start = {name: p.detach().clone() for name, p in bench.adapters.tensors("before").items()}
    ends = []
    for decay in (0.0, 1.0):
        bench.adapters.set("before", start)
        config = TeachConfig(learning_rate=0.1, epochs=1, batch_size=99, keep_weight=0.0, weight_decay=decay)
        teach.teach(bench.adapters, bench.unlearn, bench.retention, (), (), None, config, seed=0, report=Recorder())
        ends.append({name: p.detach().clone() for name, p in bench.adapters.tensors("before").items()})
    for name, first in start.items():  # stored as bfloat16
        assert torch.allclose(ends[0][name] - ends[1][name], 0.1 * first, atol=4e-3), name


def test_gradients_are_taken_of_val_as_well_where_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def stop(_: Any, unlearn: Any, retention: Any, *__: Any, **___: Any) -> None:
        asked.append((unlearn, retention))
        raise InterruptedError

    monkeypatch.setattr(region, "localize", stop)
    corpus = SimpleNamespace(select=lambda scope, split: f"{scope}: {split}")
    for questions, splits in (("train", ("train",)), ("taught", ("train", "dev", "val"))):
        config = RunConfig(localize=LocalizeConfig(questions=questions, scores=False))
        state = SimpleNamespace(
            config=config,
            corpus=SimpleNamespace(sample=lambda most: corpus),
            voices=SimpleNamespace(known=lambda examples: examples),
            adapters=None,
            words=lambda: None,
            report=None,
            group=None,
        )
        with pytest.raises(InterruptedError):
            region.located(state, None)  # type: ignore[arg-type]
        assert asked.pop() == (f"unlearn: {splits}", f"retention: {splits}")


def test_settings_that_came_later_enter_a_key_only_where_they_are_used() -> None:
    usual = SimpleNamespace(config=RunConfig())
    other = RunConfig()
    paths = {
        inputs.teaching: {"teach.warmup": 0.05, "teach.weight_decay": 1e-4},
        inputs.localizing: {"localize.questions": "taught"},
        inputs.unlearning: {"unlearn.mixed": True, "unlearn.epochs": 2, "unlearn.dropout": 0.1, "unlearn.clip": 1.0},
        inputs.scoring: {"evaluate.preface": "Refuse."},
        inputs.answering: {"evaluate.preface": "Refuse."},
        inputs.max_tokens: {"data.later_tokens": 64},
    }
    for changes in paths.values():
        for path, value in changes.items():
            other = other.with_setting(path, value)
    for key, changes in paths.items():
        before, after = repr(key(usual)), repr(key(SimpleNamespace(config=other)))  # type: ignore[arg-type]
        for path in changes:
            name = path.rpartition(".")[2].replace("later_tokens", "later")
            assert f"'{name}'" not in before
            assert f"'{name}'" in after


def test_a_setting_of_a_method_that_came_later_does_so_too() -> None:
    config = preset("clean")
    plain, used = (
        repr(inputs.unlearning(SimpleNamespace(config=config.with_setting("unlearn.method.relearning", value))))  # type: ignore[arg-type]
        for value in (0.0, 0.03)
    )
    assert "'orthogonal'" in plain
    assert "relearning" not in plain
    assert "'relearning': 0.03" in used


# -- whole runs


@pytest.mark.parametrize("method", ["memflex", "ga-kl-id"])
def test_a_run_as_published_on_copyrighted_text(tiny_llama: Path, tmp_path: Path, method: str) -> None:
    """In the benchmark's layout: one object a file, labels before text, answers of several paragraphs."""
    data = make_copyright(tmp_path / "data")
    config = with_method(preset("paper/llama2-copyright"), method)
    for path, value in {
        "model.name": str(tiny_llama),
        "model.device": "cpu",
        "model.dtype": "float32",
        "data.source": str(data),
        "data.max_tokens": 180,
        "data.later_tokens": 90,
        "teach.epochs": 2,
        "teach.learning_rate": 1e-2,
        "teach.retrain": False,
        "preflight.minimum_facts": 0,
        "unlearn.batch_size": 4,
        "unlearn.learning_rate": 1e-2,
        "unlearn.watch": 1,
        "answers.max_new_tokens": 4,
        "evaluate.extras": False,
    }.items():
        config = config.with_setting(path, value)
    if method == "memflex":
        config = config.with_setting("region.thresholds", "quantile")
    else:  # a shorter one: each letter is about a token here
        config = config.with_setting("evaluate.preface", "Refuse:")
    report, run = Recorder(), store.create(config, tmp_path / "runs")
    pipeline.execute(set_up(run, config, tmp_path / "runs", report))
    assert run.json("unlearn.json")["steps"] == 2 * (2 * 3 // 4)  # two passes over three examples of each scope
    tokens = run.table("tokens")
    assert tokens is not None
    lengths = tokens.groupby("example").size()
    assert lengths.max() <= 90
    assert not (tokens["token"] == 1).any()  # the end is not scored
    assert evaluation.evidence(run).unended == set(tokens["example"])
    if method == "memflex":
        first = tokens[tokens["position"] == 0]
        assert first["text"].str.startswith("\n").all()  # the blank line is
    taught = run.json("teach.json")
    assert taught["steps"] == 2


def test_without_that_template_what_is_too_long_is_refused_with_a_way_out(tiny_llama: Path, tmp_path: Path) -> None:
    config = RunConfig().with_setting("model.name", str(tiny_llama)).with_setting("data.subset", "copyright")
    config = config.with_setting("data.source", str(make_copyright(tmp_path / "data")))
    run = store.create(config, tmp_path / "runs")
    with pytest.raises(UserError, match=r"more than 256.*data\.max_tokens"):
        set_up(run, config, tmp_path / "runs", Recorder())
