"""Make the model know the data, so that there is something to forget: plain LoRA fine-tuning.

Beside the loss stands the divergence from the base on general text and on the base's own answers to everyday prompts: what
is not about the data stays as it was. Teaching stops as soon as answer-token accuracy on both scopes reaches the target. The
adapter is rounded to bfloat16 before it is measured: what is stored in half the space is what every later stage sees.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from core.config.stages import TeachConfig
from core.models.adapters import Adapters
from core.models.device import device_of
from core.models.distributed import ALONE, Group
from core.models.kept_texts import Anchor, Kept
from core.models.likelihood import accuracy, answer_logits, per_example, token_nll
from core.models.micro_batches import MicroBatches
from core.models.tokens import Encoded, bucketed, collate, cost
from core.util.errors import UserError
from core.util.progress import Reporter

NEAR = 6.0
"""Percentage points below the target from which on a pass is followed by an exact measurement, on the questions as given."""
MEASURED = 512
"""examples of a scope, evenly spread, on which that is measured: of a fact's many wordings some are enough"""


@dataclass
class Taught:
    """What teaching did."""

    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0
    """tokens that went through forward and backward, padding included"""
    curve: list[dict[str, float]] = field(default_factory=list)
    """per epoch: epoch, loss, accuracy while training (%), moved (divergence from the base on what is kept, nats a token)"""
    accuracy: dict[str, float] = field(default_factory=dict)
    """scope -> accuracy at the end (%)"""
    reached: bool = False
    """whether the target accuracy was reached"""


def teach(
    adapters: Adapters,
    unlearn: Sequence[Encoded],
    retention: Sequence[Encoded],
    besides: Sequence[Encoded],
    kept: Sequence[Kept],
    reworded: Callable[[int], Sequence[Encoded]] | None,
    config: TeachConfig,
    *,
    seed: int,
    report: Reporter,
    group: Group = ALONE,
    adapter: str = "before",
    micro: MicroBatches | None = None,
) -> Taught:
    """Train an adapter on both scopes, or on the one that has examples. Raises UserError when the loss is not finite.

    besides: taught as well, but not measured. kept: texts on which the model is held to the base. reworded: pass -> all
    of them in the words of that pass; None: always as they are. The processes of a group
    share the examples of every step. With dropout each does all of them: what is dropped is drawn for a whole batch, and
    must not depend on how many processes there are. micro: how many examples go through the model at once.
    """
    micro = micro or MicroBatches(report=report)
    result, started = Taught(), time.monotonic()
    members = [*unlearn, *retention, *besides]
    source = torch.Generator().manual_seed(seed)
    # Dropout draws from the global generator.
    torch.manual_seed(seed)
    per_epoch = max(1, math.ceil(len(members) / config.batch_size))
    total = per_epoch * config.epochs
    anchor = Anchor(adapters, "never", kept, config.keep_weight, config.keep_batch_size, seed + 1, micro=micro)
    with adapters.trainable(adapter, [c.name for c in adapters.cells]) as parameters:
        learner = _Learner(parameters, anchor, config, total, group if config.dropout == 0 else ALONE, micro)
        for epoch in range(1, config.epochs + 1):
            words = reworded(epoch) if reworded else members
            adapters.model.train(config.dropout > 0)
            with adapters.active(adapter) as model, micro.keeping(adapters):
                for part in _batches(words, config.batch_size, source):
                    report.check()
                    shown = learner.learn(model, part)
                    result.steps, result.tokens = result.steps + 1, result.tokens + int(shown["tokens"])
                    report.progress(result.steps, total, "steps", **shown)
            adapters.model.eval()
            result.curve.append({"epoch": epoch, **learner.passed()})
            # Accuracy while training lags behind, so an exact measurement pays only near the target, and at the end.
            if result.curve[-1]["accuracy"] >= config.target_accuracy - NEAR or epoch == config.epochs:
                adapters.round_to_bfloat16(adapter)
                result.reached = _measure(adapters, adapter, unlearn, retention, config, result, group)
                if result.reached:
                    break
    result.seconds = time.monotonic() - started
    return result


class _Learner:
    """Adapter parameters that learn a batch at a time, and what each example was like when it was seen."""

    def __init__(
        self,
        parameters: Sequence[torch.nn.Parameter],
        anchor: Anchor,
        config: TeachConfig,
        total: int,
        group: Group,
        micro: MicroBatches,
    ) -> None:
        """Begin a course. total: steps at most. group: the processes that share a batch."""
        self._parameters, self._anchor, self._group, self._micro = parameters, anchor, group, micro
        self._optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda step: rate(step, total, config.warmup))
        self._losses: dict[str, float] = {}
        self._hits: dict[str, float] = {}

    def learn(self, model: Any, members: Sequence[Encoded]) -> dict[str, float]:
        """Make one step; return loss, accuracy (%) and tokens. Raises UserError when the loss is not finite."""
        self._backward(model, members)
        if not all(math.isfinite(self._losses[m.id]) for m in members):
            raise UserError("Teaching diverged: the loss is not a number.", "Lower teach.learning_rate.")
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad(set_to_none=True)
        loss, hits = (sum(values[m.id] for m in members) / len(members) for values in (self._losses, self._hits))
        tokens = len(members) * max(len(m.ids) for m in members) + self._anchor.tokens
        return {"loss": loss, "accuracy": 100 * hits, "tokens": tokens}

    def passed(self) -> dict[str, float]:
        """Return loss and accuracy of all examples since the last call, and how far the model moved on what is kept."""
        losses, hits, self._losses, self._hits = self._losses, self._hits, {}, {}
        moved = self._anchor.moved()
        means = {"loss": sum(losses.values()) / len(losses), "accuracy": 100 * sum(hits.values()) / len(hits)}
        return means | ({"moved": moved} if moved else {})

    def _backward(self, model: Any, members: Sequence[Encoded]) -> None:
        """Run forward and backward of the mean loss; note each example's loss and share of right tokens."""
        mine = self._group.shard(members, cost)
        self._anchor.draw()
        seen = self._micro.made(partial(self._gradients, model, members, mine), max(1, len(mine)), self._forget)
        (seen,) = self._group.all_reduce_gradients(self._parameters, seen)
        for record, values in zip((self._losses, self._hits), seen.tolist(), strict=True):
            record.update(zip((m.id for m in members), values, strict=True))

    def _gradients(self, model: Any, members: Sequence[Encoded], mine: Sequence[Encoded]) -> torch.Tensor:
        """Add up this process's gradients; return (2, members) loss and share of right tokens, 0 of what is not its own."""
        seen = torch.zeros(2, len(members))
        for part in self._micro.cut(mine) if mine else []:
            batch = collate(part, device_of(model))
            logits = answer_logits(model, batch)
            each = per_example(token_nll(logits, batch.targets), batch.owners, len(batch))
            (each.sum() / len(members)).backward()
            right = per_example((logits.detach().argmax(-1) == batch.targets).float(), batch.owners, len(batch))
            ids = {m.id for m in part}
            seen[:, [m.id in ids for m in members]] = torch.stack([each.detach(), right]).cpu()
        self._anchor.backward(model, self._group)
        return seen

    def _forget(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None


def _batches(members: Sequence[Encoded], size: int, source: torch.Generator) -> list[list[Encoded]]:
    """Return one pass in random order, in batches of similar length."""
    order = [members[i] for i in torch.randperm(len(members), generator=source).tolist()]
    return bucketed(order, size, source)


def rate(step: int, total: int, rising: float = 0.1) -> float:
    """Return the learning rate's factor: a share of all steps of warm-up, then evenly down to a hundredth."""
    warmup = math.ceil(total * rising)
    if step < warmup:
        return (step + 1) / warmup
    return 1.0 - 0.99 * (step - warmup) / max(1, total - warmup)


def _measure(
    adapters: Adapters,
    adapter: str,
    unlearn: Sequence[Encoded],
    retention: Sequence[Encoded],
    config: TeachConfig,
    into: Taught,
    group: Group,
) -> bool:
    """Measure both scopes, each on at most MEASURED examples; say whether both reached the target."""
    with adapters.active(adapter) as model:
        for scope, members in (("unlearn", unlearn), ("retention", retention)):
            if members:
                sample = members[:: math.ceil(len(members) / MEASURED)]
                into.accuracy[scope] = accuracy(model, sample, group=group)
    return min(into.accuracy.values()) >= config.target_accuracy
