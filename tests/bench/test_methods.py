"""The benchmark of steps: what is compared runs the same examples, and every method can be measured."""

from __future__ import annotations

import pytest
import torch

from core.methods import METHODS
from core.methods.base import FORGET, GENERAL, QUESTION, REFUSAL, RETAIN
from core.pipeline.step_context import Context
from tests.bench import methods
from tests.bench.setup import Bench
from tests.naive import Bench as Tiny


@pytest.fixture
def measured(bench: Tiny, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return a tiny model in the benchmark's clothes."""
    monkeypatch.setattr(methods, "TIMES", 1)
    monkeypatch.setattr(methods, "FORGETS", 2)
    monkeypatch.setattr(methods, "RETAINS", 3)
    return Bench(bench.adapters, bench.loaded.tokenizer, [], [], [], bench.words)


def test_every_method_has_its_three_figures(measured: Bench) -> None:
    found = methods.measure(measured)
    assert set(found) == {f"{name}_{key}" for name in METHODS for key in ("ratio", "over_ascent", "first_visit")}
    assert all(value > 0 for key, value in found.items() if not key.endswith("first_visit"))
    assert set(methods.measure(measured, ["npo"])) == {"npo_ratio", "npo_over_ascent", "npo_first_visit"}


def test_the_plain_step_runs_the_same_examples(measured: Bench) -> None:
    members, supply = methods.examples(measured)
    assert {stream: len(part) for stream, part in members.items()} == {
        FORGET: 2,
        RETAIN: 3,
        GENERAL: 3,
        REFUSAL: 2,
        QUESTION: 2,
    }
    measured.adapters.copy("before", "after")
    region = [measured.adapters.cells[0].name]
    context = Context(measured.adapters, region, supply, seed=0)
    with measured.adapters.active("after"), torch.no_grad():
        context.load(1, {stream: members[stream] for stream in (FORGET, GENERAL)})
        loss = methods.Plain(only=(FORGET, GENERAL)).loss(context)
        assert float(loss) == pytest.approx(float(context.general.loss().mean() - context.forget.loss().mean()), rel=1e-5)
