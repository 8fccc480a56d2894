"""What the frozen prefix saves: a step on the last ten layers by full passes, over one that leaves out the layers below."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch

from core.config.stages import UnlearnConfig
from core.methods.base import FORGET, RETAIN
from core.models.prefix import frozen_prefix
from core.models.tokens import Encoded
from core.pipeline.step_context import Context
from core.pipeline.supply import Supply
from core.util.progress import Reporter
from tests.bench.setup import Bench, prepare

TIMES = 3
"""rounds of both steps; the ratio is the median of the rounds'"""
LAYERS = 10
"""of the bundled model's 30, the last"""


def measure() -> dict[str, float]:
    """Return how many times as long a full step takes, and one whose examples come for the first time."""
    bench, config = prepare(), UnlearnConfig()
    return compared(bench, config, bench.unlearn[: config.batch_size], bench.retention[: config.retain_batch_size])


def compared(bench: Bench, config: UnlearnConfig, forget: Sequence[Encoded], retain: Sequence[Encoded]) -> dict[str, float]:
    """Make steps in turn: by a full pass, over what is kept of all examples, and over a prefix that has to compute it."""
    depth = 1 + max(cell.layer for cell in bench.adapters.cells)
    region = [cell.name for cell in bench.adapters.cells if cell.layer >= depth - LAYERS]
    bench.adapters.copy("before", "after")
    with (
        bench.adapters.trainable("after", region) as parameters,
        bench.adapters.active("after"),
        frozen_prefix(bench.adapters, region, config.prefix_memory, forget[:4], Reporter()) as prefix,
    ):
        if prefix is None:
            raise RuntimeError("The bundled model's lower layers can be left out, and were not.")
        optimizer = torch.optim.AdamW(parameters, lr=1e-6)
        supply = Supply(forget, retain)
        whole, upper = (Context(bench.adapters, region, supply, seed=0, prefix=given) for given in (None, prefix))

        def step(context: Context) -> float:
            started = time.perf_counter()
            context.load(1, {FORGET: forget, RETAIN: retain})
            config.method.backward(context)
            optimizer.step()
            optimizer.zero_grad()
            return time.perf_counter() - started

        step(whole)
        rounds = []
        for _ in range(TIMES):
            prefix.kept.close()
            first, kept, full = step(upper), step(upper), step(whole)
            rounds.append((full / kept, first / full))
    ratios, firsts = zip(*rounds, strict=True)
    return {
        "prefix_ratio": round(statistics.median(ratios), 2),
        "prefix_first_visit": round(statistics.median(firsts), 2),
    }
