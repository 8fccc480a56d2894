"""The causal map: without the update of one module, what becomes of the facts to be forgotten, and of those to be kept?

For each module in turn ΔW = s·B·A is set to zero and the mean log-probability of fact tokens is measured again. It costs a
pass a module, over the layers from the module's own on: what enters that layer is the same for all modules in it, so it is
computed once a layer (core/models/prefix.py). This is no score but what scores are held against.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import pandas as pd
import torch

from core.localization.facts import Flags
from core.models.adapters import Adapters
from core.models.cells import layer_and_module
from core.models.likelihood import answer_logits, per_example, token_nll
from core.models.prefix import GB, Prefix
from core.models.tokens import Batch, Encoded, by_tokens, collate
from core.util.progress import Reporter

ROOM = 1024
"""tokens of a batch, padding included"""
Within = Callable[[Batch], contextlib.AbstractContextManager[None]]
"""a context in which each batch's pass is made"""


@contextlib.contextmanager
def without(adapters: Adapters, names: Sequence[str], adapter: str = "before") -> Iterator[None]:
    """Within this context the updates of these modules are zero; afterwards they are what they were, bit by bit."""
    factors = [adapters.tensor(adapter, f"{name}.lora_B") for name in names]
    kept = [factor.detach().clone() for factor in factors]
    try:
        for factor in factors:
            factor.data.zero_()
        yield
    finally:
        for factor, value in zip(factors, kept, strict=True):
            factor.data.copy_(value)


def everything(_: Batch) -> contextlib.AbstractContextManager[None]:
    """Let every layer run."""
    return contextlib.nullcontext()


@torch.no_grad()
def fact_logprobs(
    adapters: Adapters,
    members: Sequence[Encoded],
    facts: Flags,
    *,
    within: Within = everything,
    report: Reporter | None = None,
) -> torch.Tensor:
    """Return (members,) float64: the mean log-probability of each one's fact tokens under the active adapter, in nats.

    Each must have some. report: asked before each batch whether to stop.
    """
    report = report or Reporter()
    values, row_of = torch.zeros(len(members), dtype=torch.float64), {m.id: i for i, m in enumerate(members)}
    for part in by_tokens(members, ROOM):
        report.check()
        batch = _facts_only(collate(part, adapters.device), facts)
        with within(batch):
            logprobs = -token_nll(answer_logits(adapters.model, batch), batch.targets)
        values[[row_of[m.id] for m in part]] = per_example(logprobs, batch.owners, len(batch)).double().cpu()
    return values


@torch.no_grad()
def ablation(
    adapters: Adapters,
    unlearn: Sequence[Encoded],
    retention: Sequence[Encoded],
    facts: Flags,
    *,
    report: Reporter | None = None,
) -> pd.DataFrame:
    """Return one row a module of adapter "before": name, layer, module, drop_unlearn, drop_retain, difference.

    A drop is in nats: mean log-probability of an example's fact tokens, mean over the examples that have some, with the
    module's update less without it. difference: drop_unlearn − drop_retain, above 0 where U loses more. What enters a layer
    is kept in up to a GB. Each module is put back exactly, also where it is stopped.
    """
    report = report or Reporter()
    scopes = [[m for m in members if any(facts[m.id])] for members in (unlearn, retention)]
    count, everybody = len(scopes[0]), [*scopes[0], *scopes[1]]

    def measured(within: Within) -> tuple[float, float]:
        values = fact_logprobs(adapters, everybody, facts, within=within, report=report)
        return float(values[:count].mean()), float(values[count:].mean())

    names = dict.fromkeys(cell.name.rsplit(".lora_", 1)[0] for cell in adapters.cells)
    by_layer: dict[int, list[str]] = {}
    for name in names:
        by_layer.setdefault(layer_and_module(name)[0], []).append(name)
    rows = []
    with adapters.active("before"):
        whole = measured(everything)
        for layer, members in by_layer.items():
            with _below(adapters, layer, everybody) as within:
                for name in members:
                    with without(adapters, [name]):
                        drops = [a - b for a, b in zip(whole, measured(within), strict=True)]
                    module = layer_and_module(name)[1]
                    rows.append((name, layer, module, *drops, drops[0] - drops[1]))
                    report.progress(len(rows), len(names), "modules")
    return pd.DataFrame(rows, columns=["name", "layer", "module", "drop_unlearn", "drop_retain", "difference"])


@contextlib.contextmanager
def _below(adapters: Adapters, layer: int, members: Sequence[Encoded]) -> Iterator[Within]:
    """Yield a context for passes in which the layers below one do no work; where they must, one that lets all run."""
    prefix = Prefix(adapters, layer, int(GB), Reporter()) if layer > 0 and adapters.blocks() else None
    try:
        yield prefix.over if prefix and not prefix.trial(members[:2]) else everything
    finally:
        if prefix:
            prefix.kept.close()


def _facts_only(batch: Batch, facts: Flags) -> Batch:
    """Return the batch with predictions of fact tokens alone."""
    wanted = torch.tensor([flag for m in batch.members for flag in facts[m.id]], device=batch.rows.device)
    return dataclasses.replace(batch, rows=batch.rows[wanted], columns=batch.columns[wanted], targets=batch.targets[wanted])
