"""What a step of each method costs, as a ratio to plain ascent and descent on the same examples, measured in turn.

The same examples: the plain step runs the method's own streams (core/methods/base.py) through the model once
and follows their cross-entropies. What a method adds is references, further passes and whatever its loss computes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from core.config.run_config import preset
from core.data import general_text, refusals, sources
from core.methods import METHODS, Method
from core.methods.base import FORGET, GENERAL, QUESTION, REFUSAL, RETAIN
from core.models.tokens import Encoded, encode_all, question_of
from core.pipeline.step_context import Context
from core.pipeline.supply import Supply
from tests.bench.setup import Bench, prepare

TIMES = 5
"""rounds of steps; a ratio is the median of the rounds'"""
FORGETS, RETAINS = 8, 16
"""examples of a step, as by default; general text comes in batches as large as the retention ones"""


@dataclass(frozen=True)
class Plain(Method):
    """loss = −CE of the forget stream + CE of all others."""

    name: ClassVar[str] = "plain"
    only: tuple[str, ...] = (FORGET,)

    def loss(self, context: Context) -> torch.Tensor:
        """Return the sum."""
        losses = [(-1 if stream == FORGET else 1) * context.part(stream).loss().mean() for stream in self.only]
        return torch.stack(losses).sum()


def methods() -> dict[str, float]:
    """Compare a step of every method with a plain step on the same examples."""
    return measure(prepare())


def measure(bench: Bench, names: Sequence[str] = ()) -> dict[str, float]:
    """Return three figures a method.

    NAME_ratio: to a plain step on the same examples. NAME_over_ascent: to gradient ascent on the forget examples alone.
    NAME_first_visit: what the first step on a batch costs more, references and preparation, in steps of the method.
    """
    found: dict[str, float] = {}
    members, supply = examples(bench)
    for name in names or METHODS:
        ratio, over, first = _compared(bench, METHODS[name](), members, supply)
        found |= {f"{name}_ratio": ratio, f"{name}_over_ascent": over, f"{name}_first_visit": first}
    return {key: round(value, 2) for key, value in found.items()}


def examples(bench: Bench) -> tuple[dict[str, list[Encoded]], Supply]:
    """Return one step's examples of every stream, and a supply that holds no others."""
    corpus = sources.load(preset("this-machine").data)
    forget, retain = corpus.select("unlearn", "train")[:FORGETS], corpus.select("retention", "train")[:RETAINS]
    texts = {
        FORGET: forget,
        RETAIN: retain,
        GENERAL: general_text.examples("")[:RETAINS],
        REFUSAL: refusals.refused(forget, "plain"),
    }
    members = {stream: encode_all(bench.tokenizer, "plain", part, 256) for stream, part in texts.items()}
    members[QUESTION] = [question_of(e) for e in members[FORGET]]
    refused = dict(zip((e.id for e in forget), members[REFUSAL], strict=True))
    return members, Supply(members[FORGET], members[RETAIN], members[GENERAL], refused, words=bench.words)


def _compared(bench: Bench, method: Method, members: dict[str, list[Encoded]], supply: Supply) -> tuple[float, float, float]:
    """Return a method's three figures; the steps that are compared are made one after the other, round by round."""
    region = [cell.name for cell in bench.adapters.cells][::5]  # as in the benchmark of a step
    bench.adapters.copy("before", "after")
    with bench.adapters.trainable("after", region) as parameters, bench.adapters.active("after"):
        optimizer = torch.optim.AdamW(parameters, lr=1e-6)
        context = Context(bench.adapters, region, supply, seed=0)

        def step(of: Method, streams: Sequence[str]) -> float:
            started = time.perf_counter()
            context.load(1, {stream: members[stream] for stream in streams})
            of.backward(context)
            for name, parameter in context.parameters.items():
                if parameter.grad is not None:
                    parameter.grad = of.mask(context, name, parameter.grad)
            optimizer.step()
            optimizer.zero_grad()
            of.update(context)
            return time.perf_counter() - started

        ascent, plain = Plain(), Plain(only=method.streams)
        step(plain, method.streams)
        started = time.perf_counter()
        method.prepare(context)
        step(method, method.streams)
        first = time.perf_counter() - started
        rounds = [
            (step(ascent, ascent.only), step(plain, method.streams), step(method, method.streams)) for _ in range(TIMES)
        ]
    median = statistics.median
    own = median(mine for _, _, mine in rounds)
    return (
        median(mine / same for _, same, mine in rounds),
        median(mine / alone for alone, _, mine in rounds),
        max(0.0, first / own - 1),
    )
