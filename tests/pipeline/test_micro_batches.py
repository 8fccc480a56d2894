"""Unlearning, teaching, localization and the copy that probes train, in micro-batches: what the whole batches give."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from core.config.stages import LocalizeConfig, TeachConfig
from core.localization.recorder import Recorder as Recording
from core.methods import METHODS, Method
from core.methods.blade import BLADE
from core.methods.memflex import MemFlex
from core.methods.npo import NPO
from core.methods.random_labels import RandomLabels
from core.methods.rmu import RMU
from core.models.kept_texts import Kept
from core.models.likelihood import answer_logits
from core.models.micro_batches import MicroBatches
from core.models.tokens import collate
from core.pipeline import inputs
from core.pipeline.localize import _Products, localize
from core.pipeline.teach import teach
from core.probes import trained_copy
from tests.naive import Bench, Recorder
from tests.pipeline.test_frozen_prefix import CLOSE, LOWEST, deep, step, unlearned

__all__ = ["deep"]


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], close: float = CLOSE) -> None:
    assert any(float(value.norm()) > 0 for value in expected.values())
    for name, value in expected.items():
        assert float((found[name] - value).norm()) <= close * float(value.norm()) + 1e-6, name


# -- unlearning


@pytest.mark.parametrize("name", METHODS)
def test_a_step_of_every_method_is_that_of_the_whole_batch(deep: Callable[[str], Bench], name: str) -> None:
    bench, method = deep("llama"), METHODS[name]()
    loss, expected, _ = step(bench, method, 0.0)
    for memory, micro in ((0.0, MicroBatches(2)), (1.0, MicroBatches(4, checkpointing=True))):
        same, found, _ = step(bench, method, memory, micro)
        assert same == pytest.approx(loss, rel=1e-4)
        assert_close(found, expected)


@pytest.mark.parametrize("architecture", ["gpt2", "opt", "gemma2", "falcon", "qwen3_moe"])
def test_a_step_is_that_of_the_whole_batch(deep: Callable[[str], Bench], architecture: str) -> None:
    bench = deep(architecture)
    _, expected, _ = step(bench, RMU(layer=LOWEST), 0.0)
    _, found, _ = step(bench, RMU(layer=LOWEST), 0.0, MicroBatches(2, checkpointing=True))
    assert_close(found, expected)


@contextlib.contextmanager
def little_memory(bench: Bench, most: int) -> Iterator[list[int]]:
    """Within this context more than so many rows with gradients do not fit; what was tried is in the list."""
    tried: list[int] = []

    def look(_: Any, given: tuple[torch.Tensor, ...], output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        if torch.is_grad_enabled() and states.requires_grad:
            tried.append(len(states))
            if len(states) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    handle = bench.adapters.blocks()[-1].register_forward_hook(look)
    try:
        yield tried
    finally:
        handle.remove()


@pytest.mark.parametrize("method", [MemFlex(), NPO(), RandomLabels(), BLADE(), BLADE(keep_inner=False)])
def test_where_memory_runs_out_it_goes_on_in_halves(deep: Callable[[str], Bench], method: Method) -> None:
    """And ends as with whole batches: also a method that draws, and one that moves the weights in between."""
    bench, report = deep("llama"), Recorder()
    plain, expected = unlearned(bench, method=method)
    with little_memory(bench, 3) as tried:
        result, found = unlearned(bench, report, method=method)
    assert max(tried) > 3
    texts = [values["text"] for kind, values in report.events if kind == "finding"]
    assert any("go through the model at once" in text for text in texts)
    assert len(texts) <= 3  # halved at the first step, and not anew at each
    for mine, theirs in zip(result.curve, plain.curve, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3)
    before = bench.adapters.tensors("before")
    for name, value in expected.items():
        assert float((found[name] - value).norm()) <= 0.02 * float((value - before[name]).norm()), name


def test_what_layers_keep_changes_no_bit(deep: Callable[[str], Bench]) -> None:
    bench = deep("llama")
    _, expected = unlearned(bench, method=NPO())
    _, found = unlearned(bench, method=NPO(), micro=MicroBatches(checkpointing=True))
    assert all(torch.equal(found[name], value) for name, value in expected.items())


# -- teaching


def taught(bench: Bench, micro: MicroBatches | None, report: Recorder | None = None) -> dict[str, torch.Tensor]:
    adapters, config = bench.adapters, TeachConfig(epochs=2, batch_size=8, learning_rate=1e-3, target_accuracy=100.1)
    adapters.set("before", bench.start)  # type: ignore[attr-defined]
    kept = [Kept(e, e) for e in bench.retention]
    teach(adapters, bench.unlearn, bench.retention, [], kept, None, config, seed=0, report=report or Recorder(), micro=micro)
    return {name: p.detach().clone() for name, p in adapters.tensors("before").items()}


@pytest.fixture
def pupil(deep: Callable[[str], Bench]) -> Bench:
    bench = deep("llama")
    bench.start = {name: p.detach().clone() for name, p in bench.adapters.tensors("before").items()}  # type: ignore[attr-defined]
    return bench


def test_teaching_in_micro_batches_ends_as_in_whole_ones(pupil: Bench) -> None:
    expected = taught(pupil, None)
    start: dict[str, torch.Tensor] = pupil.start  # type: ignore[attr-defined]
    with little_memory(pupil, 3):
        halved = taught(pupil, None, report := Recorder())
    assert any("go through the model at once" in values.get("text", "") for _, values in report.events)
    for found in (halved, taught(pupil, MicroBatches(3, checkpointing=True))):
        for name, value in expected.items():
            assert float((found[name] - value).norm()) <= 0.02 * float((value - start[name]).norm()) + 1e-4, name
    kept = taught(pupil, MicroBatches(checkpointing=True))
    assert all(torch.equal(kept[name], value) for name, value in expected.items())


# -- localization


def located(bench: Bench, config: LocalizeConfig, micro: MicroBatches | None, report: Recorder | None = None) -> Any:
    facts = {e.id: tuple(i % 2 == 0 for i in range(len(e.answer))) for e in [*bench.unlearn, *bench.retention]}
    return localize(
        bench.adapters,
        bench.unlearn,
        bench.retention,
        config,
        held={},
        words=bench.words,
        facts=facts,
        seed=0,
        report=report or Recorder(),
        micro=micro,
    )


@pytest.mark.parametrize("perturbation", ["labels", "code"])
def test_localization_finds_the_same_in_micro_batches(bench: Bench, perturbation: str) -> None:
    config = LocalizeConfig(perturbation=perturbation, copies=2)
    expected = located(bench, config, None)
    with little_memory(bench, 2):
        halved = located(bench, config, None, report := Recorder())
    assert any("go through the model at once" in values.get("text", "") for _, values in report.events)
    assert report.steps[-1]["done"] == report.steps[-1]["total"]
    for found in (halved, located(bench, config, MicroBatches(2, checkpointing=True))):
        # What removal would do, by the margin, is taken on some batches, which are others here.
        mine, theirs = (
            of.table.select_dtypes("number").drop(columns="score_removal").to_numpy(float) for of in (found, expected)
        )
        assert np.allclose(mine, theirs, rtol=1e-3, atol=1e-6, equal_nan=True)
        assert found.contributions["example"].tolist()[:2] == expected.contributions["example"].tolist()[:2]


def test_localization_finds_the_same_bits_whatever_layers_keep(bench: Bench) -> None:
    expected, found = (located(bench, LocalizeConfig(), micro) for micro in (None, MicroBatches(checkpointing=True)))
    for table in ("table", "contributions"):
        assert getattr(found, table).equals(getattr(expected, table))


@pytest.mark.parametrize("watch", ["nothing", "products", "recorder"])
def test_localization_holds_no_more_than_a_layers_input(deep: Callable[[str], Bench], watch: str) -> None:
    """Also where the inputs of every module are looked at on the way back."""
    bench, held = deep("llama"), dict[bool, int]()
    adapters, members = bench.adapters, [*bench.unlearn, *bench.retention]
    batch, names = collate(members), [cell.name for cell in adapters.cells]
    total = {name: torch.ones_like(p) for name, p in adapters.tensors("before").items()}
    for keeps in (False, True):
        seen: list[weakref.ref[torch.UntypedStorage]] = []

        def look(_: Any, args: tuple[torch.Tensor, ...], __: Any, seen: list[Any] = seen) -> None:
            seen.append(weakref.ref(args[0].untyped_storage()))

        handles = [adapters.layer(name).register_forward_hook(look) for name in names if name.endswith("_A")]
        watching: dict[str, Any] = {
            "nothing": contextlib.nullcontext(),
            "products": _Products(adapters, names, total, batch),
            "recorder": Recording(adapters, {e.id: (True,) * len(e.answer) for e in members}, seed=0),
        }
        with (
            adapters.trainable("before", names),
            adapters.active("before") as model,
            MicroBatches(checkpointing=keeps).keeping(adapters),
            watching[watch],
        ):
            logits = answer_logits(model, batch)
            assert logits.requires_grad
            held[keeps] = len({id(storage) for ref in seen if (storage := ref()) is not None})
            del logits
        for handle in handles:
            handle.remove()
    assert held[True] <= 2 < held[False]  # the last module's is what goes out of the last layer, at most


# -- the copy that probes train


def test_a_trained_copy_learns_the_same(bench: Bench) -> None:
    def losses(micro: MicroBatches) -> list[float]:
        bench.adapters.copy("before", "after")
        with trained_copy.training(
            bench.adapters, "after", bench.unlearn, learning_rate=1e-3, batch_size=6, seed=0, micro=micro
        ) as copy:
            return [copy.step() for _ in range(3)]

    expected = losses(MicroBatches())
    assert losses(MicroBatches(checkpointing=True)) == expected
    assert losses(MicroBatches(2)) == pytest.approx(expected, rel=1e-4)
    with little_memory(bench, 4):
        assert losses(MicroBatches()) == pytest.approx(expected, rel=1e-4)


# -- what is found in the cache again


def test_a_setting_that_changes_no_number_changes_no_key() -> None:
    class Model:
        micro_batch = 0

    class State:
        config = type("Config", (), {"model": Model})

    assert list(inputs.micro_batches(State())) == []  # type: ignore[arg-type]
    Model.micro_batch = 4
    assert list(inputs.micro_batches(State())) == [["micro-batch", 4]]  # type: ignore[arg-type]
