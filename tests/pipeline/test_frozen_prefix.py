"""Unlearning over a frozen prefix: the same losses, gradients, references and results as by full passes."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from core.config.stages import UnlearnConfig
from core.methods import METHODS, Method
from core.methods.base import FORGET, GENERAL, QUESTION, REFUSAL, RETAIN
from core.methods.memflex import MemFlex
from core.methods.npo import NPO
from core.methods.rmu import RMU
from core.models.micro_batches import MicroBatches
from core.models.prefix import Prefix, frozen_prefix
from core.models.tokens import Encoded, question_of
from core.pipeline import inputs, unlearn_loop
from core.pipeline.step_context import Context
from core.pipeline.supply import Supply
from core.pipeline.unlearn_loop import Unlearned, Watched
from core.util.errors import Cancelled
from core.util.progress import Reporter
from tests.naive import Bench, Recorder, gradients, make_bench, randomize

CONFIG = UnlearnConfig(
    learning_rate=1e-2, warmup=0.0, steps=6, batch_size=3, retain_batch_size=4, check_every=2, stop="never", retain_floor=0.0
)
LOWEST = 2
"""the layer, of four, at which the region begins"""
CLOSE = 1e-3
"""of gradients, as a share of their length"""


@pytest.fixture
def deep(deep_tiny_of: Callable[[str], Path], tiny_data: Path) -> Callable[[str], Bench]:
    """Return a function that makes a bench of four layers."""
    return lambda architecture: make_bench(deep_tiny_of(architecture), tiny_data)


def region(bench: Bench) -> list[str]:
    return [cell.name for cell in bench.adapters.cells if cell.layer >= LOWEST]


def supply(bench: Bench) -> Supply:
    """Return all streams, with further questions as `data.widen` adds them: of the same scopes, under other names."""
    wider = [Encoded(f"widened/{e.id}", (*e.ids[:3], *e.ids), e.start + 3, e.pad) for e in bench.unlearn]
    refused = {
        e.id: Encoded(f"refused/{e.id}", (*e.ids[: e.start], 40, 41, 1), e.start, e.pad) for e in [*bench.unlearn, *wider]
    }
    general = [Encoded(f"general/{e.id}", e.ids[::-1], 4, e.pad) for e in bench.retention]
    return Supply([*bench.unlearn, *wider], bench.retention, general, refused, words=bench.words)


def step(
    bench: Bench, method: Method, memory: float, micro: MicroBatches | None = None
) -> tuple[float, dict[str, torch.Tensor], Prefix | None]:
    """Return the loss and the gradients of a method's second step on the same examples, and the prefix."""
    micro = micro or MicroBatches()
    bench.adapters.copy("before", "after")
    given, cells = supply(bench), region(bench)
    members = {
        FORGET: given.forget,
        RETAIN: given.retain,
        GENERAL: given.general,
        REFUSAL: [given.refusals[e.id] for e in given.forget],
        QUESTION: [question_of(e) for e in given.forget],
    }
    with (
        bench.adapters.trainable("after", cells),
        bench.adapters.active("after"),
        micro.keeping(bench.adapters),
        frozen_prefix(bench.adapters, cells, memory, given.forget[:4], Reporter()) as prefix,
    ):
        made = Context(bench.adapters, cells, given, 0, prefix=prefix, micro=micro)
        method.prepare(made)
        move(bench, cells)
        for number in (1, 2):
            made.random = torch.Generator().manual_seed(0)
            made.load(number, {stream: members[stream] for stream in method.streams})
            gradients(bench.adapters, "after")
            made.retried(partial(method.backward, made))
        loss = float(sum(made.part(stream).loss().detach().mean() for stream in method.streams))
        return loss, gradients(bench.adapters, "after"), prefix


def move(bench: Bench, cells: list[str]) -> None:
    """Put the region far from where it began."""
    below = {name: p.detach().clone() for name, p in bench.adapters.tensors("after").items() if name not in cells}
    randomize(bench.adapters, "after", seed=7)
    bench.adapters.set("after", below)


def assert_same_step(bench: Bench, method: Method) -> None:
    loss, expected, none = step(bench, method, 0.0)
    same, found, prefix = step(bench, method, 1.0)
    assert (none, prefix is None) == (None, False)
    assert same == pytest.approx(loss, rel=1e-4)
    assert any(float(gradient.norm()) > 0 for gradient in expected.values())
    for name, gradient in expected.items():
        assert float((found[name] - gradient).norm()) <= CLOSE * float(gradient.norm()) + 1e-6, name


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2", "opt", "gemma2", "falcon"])
def test_a_step_is_that_of_the_full_pass(deep: Callable[[str], Bench], architecture: str) -> None:
    assert_same_step(deep(architecture), NPO())


@pytest.mark.parametrize("name", METHODS)
def test_a_step_of_every_method_is_that_of_the_full_pass(deep: Callable[[str], Bench], name: str) -> None:
    assert_same_step(deep("llama"), METHODS[name]())


@pytest.mark.parametrize("layer", [LOWEST, 3])
def test_a_method_that_reads_hidden_states_gets_them(deep: Callable[[str], Bench], layer: int) -> None:
    assert_same_step(deep("llama"), RMU(layer=layer))


@pytest.mark.parametrize("layer", range(4))
def test_hidden_states_of_any_layer_can_be_asked_for(deep: Callable[[str], Bench], layer: int) -> None:
    """Also below the region, before and after the logits were read."""
    bench = deep("llama")
    bench.adapters.copy("before", "after")
    cells = region(bench)
    with (
        torch.no_grad(),
        bench.adapters.active("after"),
        frozen_prefix(bench.adapters, cells, 1.0, bench.unlearn, Reporter()) as prefix,
    ):
        seen = []
        for given in (prefix, None):
            made = Context(bench.adapters, cells, supply(bench), 0, prefix=given)
            made.load(1, {FORGET: bench.unlearn, RETAIN: bench.retention})
            logits = made.forget.logits
            seen.append((made.retain.hidden(layer), made.retain.reference_hidden(layer), logits, made.forget.logits))
    for found, expected in zip(*seen, strict=True):
        assert torch.allclose(found, expected, atol=2e-4)


# -- the loop


def unlearned(
    bench: Bench, report: Reporter | None = None, micro: MicroBatches | None = None, **settings: Any
) -> tuple[Unlearned, dict[str, torch.Tensor]]:
    result = unlearn_loop.unlearn(
        bench.adapters,
        region(bench),
        supply(bench),
        Watched(bench.unlearn, bench.retention, None),
        dataclasses.replace(CONFIG, **settings),
        unlearn_loop.Callbacks(report or Recorder(), lambda *_: None),
        seed=0,
        micro=micro,
    )
    return result, {name: bench.adapters.tensor("after", name).detach().clone() for name in region(bench)}


@pytest.mark.parametrize("memory", [1.0, 1e-9])
@pytest.mark.parametrize("method", [MemFlex(), NPO(), RMU()])
def test_a_run_of_the_loop_ends_as_by_full_passes(
    deep: Callable[[str], Bench], method: Method, memory: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    bench, report = deep("llama"), Recorder()
    plain, expected = unlearned(bench, method=method, prefix_memory=0.0)
    result, found = unlearned(bench, report, method=method, prefix_memory=memory)
    assert [text for kind, text in report.events if kind == "finding" and "whole model" in text["text"]] == []
    assert result.step == plain.step
    for mine, theirs in zip(result.curve, plain.curve, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3)
    for mine, theirs in zip(result.checks, plain.checks, strict=True):
        assert mine == pytest.approx(theirs, abs=0.5)
    before = bench.adapters.tensors("before")
    for name, value in expected.items():
        moved = float((value - before[name]).norm())
        assert float((found[name] - value).norm()) <= 0.02 * moved, name
    assert list(tmp_path.iterdir()) == []


def test_layers_below_run_once_for_each_example(deep: Callable[[str], Bench]) -> None:
    """Steps and checks alike: in the end no pass has gone through them with an example that was seen before."""
    bench, rows = deep("llama"), list[int]()
    attention = bench.adapters.blocks()[0].self_attn
    attention.register_forward_pre_hook(lambda _, __, given: rows.append(len(given["hidden_states"])), with_kwargs=True)
    unlearned(bench, steps=12)
    tried, distinct = unlearn_loop.TRIED, {e.ids for part in (supply(bench).forget, bench.retention) for e in part}
    assert sum(rows) == tried + len(distinct)


def test_nothing_stays_behind_when_the_run_is_cancelled(
    deep: Callable[[str], Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    bench = deep("llama")
    with pytest.raises(Cancelled):
        unlearned(bench, Recorder(stop_at=3), prefix_memory=1e-9)
    assert list(tmp_path.iterdir()) == []
    assert not any("forward" in block.__dict__ for block in bench.adapters.blocks())


def test_a_region_that_begins_at_the_bottom_makes_full_passes(deep: Callable[[str], Bench]) -> None:
    bench, report = deep("llama"), Recorder()
    cells = [cell.name for cell in bench.adapters.cells]
    unlearn_loop.unlearn(
        bench.adapters,
        cells,
        supply(bench),
        Watched(bench.unlearn, bench.retention, None),
        CONFIG,
        unlearn_loop.Callbacks(report, lambda *_: None),
        seed=0,
    )
    assert all("whole model" not in values.get("text", "") for _, values in report.events)


def test_memory_for_it_changes_no_key() -> None:
    """What was unlearned with other memory, or before there was a prefix, is found in the cache again."""

    class State:
        config = type("Config", (), {"unlearn": CONFIG})

    key = inputs.unlearning(State())  # type: ignore[arg-type]
    State.config.unlearn = dataclasses.replace(CONFIG, prefix_memory=0.5)  # type: ignore[attr-defined]
    assert inputs.unlearning(State()) == key  # type: ignore[arg-type]
    assert "prefix_memory" not in str(key)
