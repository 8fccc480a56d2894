"""Every method makes a tiny taught model forget: the true answers of U become less probable, and R suffers less."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.config.stages import UnlearnConfig
from core.methods import METHODS
from core.methods.base import RETAIN
from core.models.likelihood import accuracy, answer_logits, token_nll
from core.models.tokens import Encoded, collate
from core.pipeline import unlearn_loop as unlearn_
from core.pipeline.supply import Supply
from core.pipeline.unlearn_loop import Watched
from tests.methods.test_losses import general, refused
from tests.naive import Bench, Recorder, make_bench

RATES = {"task-vector": 1e-2, "satimp": 2e-2, "rmu": 2e-2, "undial": 1e-2, "pdu": 1e-2}
"""where 5e-3 is too little for a model with two layers"""


@pytest.fixture(scope="module")
def taught(tiny_llama: Path, tiny_data: Path) -> dict[str, torch.Tensor]:
    """Return the factors of an adapter that knows the tiny data by heart."""
    bench = make_bench(tiny_llama, tiny_data)
    cells = [c.name for c in bench.adapters.cells]
    batch = collate([*bench.unlearn, *bench.retention])
    with bench.adapters.trainable("before", cells) as parameters, bench.adapters.active("before") as model:
        optimizer = torch.optim.Adam(parameters, lr=2e-2)
        for _ in range(120):
            optimizer.zero_grad()
            token_nll(answer_logits(model, batch), batch.targets).mean().backward()
            optimizer.step()
        assert accuracy(model, bench.unlearn) > 95
        return {n: p.detach().clone() for n, p in bench.adapters.tensors("before").items()}


def loss(bench: Bench, adapter: str, members: list[Encoded]) -> float:
    """Mean −log p of the true answer tokens."""
    batch = collate(members)
    with bench.adapters.active(adapter) as model, torch.no_grad():
        return float(token_nll(answer_logits(model, batch), batch.targets).mean())


@pytest.mark.parametrize("name", METHODS)
def test_true_answers_become_less_probable(
    bench_of: Callable[..., Bench], taught: dict[str, torch.Tensor], name: str
) -> None:
    bench = bench_of("llama")
    bench.adapters.set("before", taught)
    kind = METHODS[name]
    settings = {"retain_weight": 2.0} if "retain_weight" in {f.name for f in dataclasses.fields(kind)} else {}
    method = kind(**settings) if name != "rmu" else kind()
    config = UnlearnConfig(
        method=method,
        learning_rate=RATES.get(name, 5e-3),
        warmup=0.0,
        steps=20,
        batch_size=99,
        retain_batch_size=99,
        check_every=20,
        stop="never",
        retain_floor=0.0,
    )
    refusals = {e.id: refused(e) for e in bench.unlearn}
    supply = Supply(bench.unlearn, bench.retention, general(), refusals, words=bench.words)
    unlearn_.unlearn(
        bench.adapters,
        [c.name for c in bench.adapters.cells],
        supply,
        Watched(bench.unlearn, bench.retention, None),
        config,
        unlearn_.Callbacks(Recorder(), lambda *_: None),
        seed=0,
    )
    forgot = loss(bench, "after", bench.unlearn) - loss(bench, "before", bench.unlearn)
    assert forgot > 0.3
    if RETAIN in method.streams:
        assert loss(bench, "after", bench.retention) - loss(bench, "before", bench.retention) < 0.7 * forgot
