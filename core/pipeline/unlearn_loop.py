"""The update loop: any method on any region.

Only the region's tensors get gradients and optimizer state, so backward stops at the lowest of them. At the end a
check that cannot be skipped: outside the region "after" equals "before" bit by bit, inside every tensor changed.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from core.config.stages import STOPS, UnlearnConfig
from core.models.adapters import Adapters
from core.models.kept_texts import Anchor, Kept
from core.models.likelihood import accuracy
from core.models.micro_batches import MicroBatches
from core.models.prefix import Prefix, frozen_prefix
from core.models.tokens import Encoded
from core.pipeline.step_context import Context
from core.pipeline.supply import Supply, besides, is_mixed, spread, streams
from core.util.errors import Cancelled, UserError
from core.util.progress import Reporter

Saver = Callable[[int, dict[str, torch.Tensor]], None]
"""(step, the region's tensors) -> stored as a checkpoint"""
Judge = Callable[[], dict[str, float]]
"""-> what adapter "after" says now, in percent: see core/pipeline/watched_questions.py"""
Asker = Callable[[], list[dict[str, Any]]]
"""-> what adapter "after" answers to the watch questions now; see core/pipeline/watched_questions.py"""
TRIED = 8
"""examples on which it is tried whether the layers below the region can be left out"""
PATIENCE = 2
"""checkpoints in a row, clearly worse than the best, after which a run that is picked by what is said ends"""
ERRORS = 2.0
"""standard errors by which one checkpoint must be worth more than another before the sample can tell them apart"""


@dataclass
class Unlearned:
    """What the loop did."""

    step: int = 0
    """the step whose tensors are "after" """
    steps: int = 0
    """steps that were made"""
    stopped: str = ""
    """why the loop ended, in words"""
    seconds: float = 0.0
    tokens: int = 0
    target: float | None = None
    """accuracy on U at which to stop, in percent"""
    never_taught: float | None = None
    """accuracy (%) of the never-taught model on the examples of U that `checks` are made on; None where there is none"""
    curve: list[dict[str, float]] = field(default_factory=list)
    """per step: step, rate, and the cross-entropy of each stream (core/methods/base.py) as STREAM_loss"""
    checks: list[dict[str, float]] = field(default_factory=list)
    """per checkpoint: step, unlearn, retention (accuracy in percent), and where it is picked by that, what was said"""
    watched: list[dict[str, Any]] = field(default_factory=list)
    """at step 0 and per checkpoint: step, answers to the watch questions"""
    idle: list[str] = field(default_factory=list)
    """tensors of the region that the method never gave a gradient, so they stayed as they were"""
    late: dict[str, int] = field(default_factory=dict)
    """tensors of the region whose first gradient came after the first checkpoint -> its step"""


@dataclass(frozen=True)
class Watched:
    """The examples on which the loop measures itself: dev where some are held out, else train."""

    unlearn: Sequence[Encoded]
    retention: Sequence[Encoded]
    never_taught: float | None
    """accuracy (%) of the never-taught model on the same unlearn examples; None where there is none"""
    before: float = 100.0
    """accuracy (%) of the model before on the retention examples"""


@dataclass(frozen=True)
class Callbacks:
    """What is told of the steps, and what is asked between them."""

    report: Reporter
    save: Saver
    ask: Asker | None = None
    judge: Judge | None = None
    """where a checkpoint is picked by what is said; it is then the best by `worth`"""


def unlearn(
    adapters: Adapters,
    region: Sequence[str],
    supply: Supply,
    watched: Watched,
    config: UnlearnConfig,
    callbacks: Callbacks,
    *,
    seed: int,
    everyday: Sequence[Kept] = (),
    micro: MicroBatches | None = None,
) -> Unlearned:
    """Train adapter "after", a copy of "before", on the region.

    The result is the checkpoint nearest to the target: the first that reaches it, or the one before if that is closer.
    If the retention floor is broken first, it is the last checkpoint above it, or the first one where none is; for a model
    that lies under the floor to begin with it is lowered. Raises UserError when the loss is not finite (checkpoints up to
    then are kept), when the method lacks something, or when the final check fails.

    everyday: texts on which it is held to before. micro: how many examples go through the model at once.
    """
    report = callbacks.report
    micro = micro or MicroBatches(report=report)
    supply.check(config.method.label, config.method.streams)
    config.check(config.method, has_never=True)  # of a model that never knew, the caller knows
    config = config.course(len(supply.forget), len(besides(supply, config)))
    config = dataclasses.replace(config, retain_floor=reachable_floor(config.retain_floor, watched.before, report))
    adapters.copy("before", "after")
    if config.slots:
        adapters.widen("after", config.slots)
    result = Unlearned(target=stop_level(config.stop, watched.never_taught), never_taught=watched.never_taught)
    torch.manual_seed(seed)
    started = time.monotonic()
    tried = spread([*supply.forget, *supply.retain], TRIED)
    # What is dropped below the region differs from step to step.
    room = 0.0 if config.dropout else config.prefix_memory
    with (
        adapters.trainable("after", region),
        adapters.dropout("after", config.dropout) as dropped,
        adapters.active("after") as model,
        micro.keeping(adapters),
        frozen_prefix(adapters, region, room, tried, report) as prefix,
    ):
        own = adapters.rank("after") - config.slots if config.slots else None
        context = Context(
            *(adapters, region, supply, seed, report, prefix, micro),
            mixed=is_mixed(config),
            apart=config.method.apart,
            own=own,
        )
        weight, size = config.everyday_weight, config.everyday_batch_size
        anchor = Anchor(adapters, "before", everyday, weight, size, seed + 1, prefix, micro)
        loop = _Loop(model, context, watched, config, result, callbacks, anchor, dropped)
        try:
            loop.go(streams(supply, config, torch.Generator().manual_seed(seed)))
        except Cancelled:
            loop.put_result()  # what is kept of a cancelled run is the method's result so far, not what is being trained
            raise
    if not loop.kept:
        raise UserError("Unlearning diverged before the first checkpoint.", "Lower unlearn.learning_rate or the weights.")
    adapters.set("after", loop.kept)
    result.stopped = result.stopped or f"all {config.steps} steps made"
    result.seconds = time.monotonic() - started
    result.idle = idle(config.method.label, region, loop.moved, report)
    result.late = {name: step for name, step in loop.moved.items() if step > min(config.check_every, config.steps)}
    verify(adapters, region, still(result.idle, result.late, result.step))
    return result


def reachable_floor(floor: float, before: float, report: Reporter) -> float:
    """Return the retention floor (%): for a model under it to begin with, as far below that as it was below 100 %."""
    if before >= floor:
        return floor
    lowered = max(0.0, before - (100.0 - floor))
    text = (
        f"Retention accuracy is {before:.1f} % before unlearning, under the floor of {floor:.1f} % (unlearn.retain_floor): "
        f"the floor is as far below that as it would be below 100 %, at {lowered:.1f} %."
    )
    report.event("finding", text=text)
    return lowered


def idle(method: str, region: Sequence[str], moved: Mapping[str, int], report: Reporter) -> list[str]:
    """Return the region's tensors that a method never gave a gradient. Raises UserError where these are all."""
    stayed = [name for name in region if name not in moved]
    if len(stayed) == len(region):
        raise UserError(f"{method} cannot move any tensor of the region.", "Choose another region.")
    if stayed:
        text = f"{method} gives {len(stayed)} of the region's {len(region)} tensors no gradient: they stayed."
        report.event("finding", text=text)
    return stayed


def still(idle: Sequence[str], late: Mapping[str, int], step: int) -> list[str]:
    """Return the tensors that had not moved at a step, which are those that never did and those that did later."""
    return [*idle, *(name for name, first in late.items() if first > step)]


class _Loop:
    """The steps, and what is measured between them."""

    def __init__(
        self,
        model: Any,
        context: Context,
        watched: Watched,
        config: UnlearnConfig,
        result: Unlearned,
        callbacks: Callbacks,
        anchor: Anchor,
        dropped: torch.nn.ModuleList,
    ) -> None:
        self.dropped = dropped.eval()
        """the dropout of adapter "after": at work in steps alone, never where something is measured or asked"""
        self.model, self.context, self.watched, self.config = model, context, watched, config
        self.result, self.callbacks, self.report, self.anchor = result, callbacks, callbacks.report, anchor
        self.best, self.since = -math.inf, 0
        self.kept: dict[str, torch.Tensor] = {}
        self.moved: dict[str, int] = {}
        parameters = list(context.parameters.values())
        self.optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: rate(step, config))

    def go(self, batches: Iterator[dict[str, list[Encoded]]]) -> None:
        """Make the steps until the last one or a reason to stop."""
        config, result = self.config, self.result
        _watch(0, result, self.callbacks)
        self.context.retried(partial(config.method.prepare, self.context))
        for step in range(1, config.steps + 1):
            self.report.check()
            losses = self._step(step, next(batches))
            if losses is None:
                self.report.event("diverged", step=step)
                result.stopped = f"diverged at step {step}; the last checkpoint before it is kept"
                break
            result.steps = step
            result.curve.append({"step": step, **losses, "rate": self.context.learning_rate})
            measured: dict[str, float] = {}
            if step % config.check_every == 0 or step == config.steps:
                measured = self._checkpoint(step)
            self.report.progress(step, config.steps, "steps", tokens=self.context.batch.ids.numel(), **losses, **measured)
            if result.stopped:
                break

    def _step(self, step: int, members: dict[str, list[Encoded]]) -> dict[str, float] | None:
        """Make one step and return the losses before it; None where it cannot be made."""
        config, context = self.config, self.context
        method = config.method
        context.load(step, members)
        context.learning_rate = float(self.schedule.get_last_lr()[0])
        self.result.tokens += context.batch.ids.numel()
        self.anchor.draw()
        self.dropped.train()
        context.retried(self._gradients)
        self.dropped.eval()
        losses = {f"{s}_loss": float(context.part(s).loss().detach().mean()) for s in members if members[s]}
        for name, parameter in context.parameters.items():
            if parameter.grad is not None:
                parameter.grad = method.mask(context, name, parameter.grad)
                context.still(name, parameter.grad).zero_()
                if name not in self.moved and parameter.grad.any():
                    self.moved[name] = step
        if not _finite(losses, list(context.parameters.values())):
            return None
        if config.clip:
            torch.nn.utils.clip_grad_norm_(context.parameters.values(), config.clip)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        method.update(context)
        return losses

    def _gradients(self) -> None:
        self.config.method.backward(self.context)
        self.anchor.backward(self.model)

    def _checkpoint(self, step: int) -> dict[str, float]:
        """Measure the result so far; keep it unless it is worse than what is kept; decide whether to stop."""
        config, result, trained = self.config, self.result, self.put_result()
        measured = _check(self.model, self.watched, self.context.prefix)
        said = self.callbacks.judge() if self.callbacks.judge else {}
        result.checks.append({"step": step, **measured, **said})
        _watch(step, result, self.callbacks)
        tensors = {name: p.detach().clone() for name, p in self.context.parameters.items()}
        # The first one is kept whatever it retains: a run without any result would tell less.
        better = self._as_good(said) if said else not (measured["retention"] < config.retain_floor or _overshot(result))
        if not self.kept or better:
            self.kept, result.step = tensors, step
        if said or result.step == step:
            self.callbacks.save(step, tensors)
        if not said:
            result.stopped = _why_stop(measured, step, result, config)
        elif config.forgotten:
            if said["said_forgotten"] >= config.forgotten:
                result.stopped = f"step {step}: {said['said_forgotten']:.1f} % is no longer said, as much as was asked for"
        elif self.since == PATIENCE:
            result.stopped = f"step {step}: what is said has become worse since step {result.step}, which is kept"
        # Training goes on from the trained tensors, not from the result that was made of them.
        for name, value in trained.items():
            self.context.parameters[name].data.copy_(value)
        return measured

    def _as_good(self, said: Mapping[str, float]) -> bool:
        """Say whether a checkpoint is to be kept: the latest that the sample cannot tell from the best.

        The rate falls towards the last step, so of two that look alike the later one has settled. Where a run is to forget
        so much and no more, the first that does.
        """
        if level := self.config.forgotten:
            now = min(said["said_forgotten"], level)
            kept = now > self.best
        else:
            now = worth(said)
            kept = now >= self.best - ERRORS * standard_error(now, said["said_asked"])
        self.best, self.since = max(now, self.best), 0 if kept else self.since + 1
        return kept

    def put_result(self) -> dict[str, torch.Tensor]:
        """Put in place what the method makes of the trained tensors; return those that differ from it.

        Slots that moved are rounded to bfloat16: stored in half the space is what was measured.
        """
        trained = {}
        for name, parameter in self.context.parameters.items():
            now = parameter.data
            result = self.config.method.result(self.context.before[name], now)
            if self.config.slots and name in self.moved:
                rounded = result.to(torch.bfloat16).to(now.dtype)
                still = self.context.still
                still(name, rounded).copy_(still(name, result))  # a given adapter may be finer
                result = rounded
            if result is not now:
                trained[name] = now.clone()
                now.copy_(result)
        return trained


def worth(said: Mapping[str, float]) -> float:
    """Return what a checkpoint is picked by, in percent: the smaller share of right answers in the two scopes.

    Of U an answer is right that says nothing that was taught or made up, and is no gibberish; of R one that says its fact.
    """
    of_unlearn = said["said_forgotten"] - said["said_noise_unlearn"] - said["said_made_up"]
    return min(of_unlearn, said["said_kept"])


def standard_error(share: float, asked: float) -> float:
    """Return that of a share (percent) of so many questions; two more, one of each kind, keep it from being 0."""
    p = (share / 100.0 * asked + 1.0) / (asked + 2.0)
    return 100.0 * math.sqrt(p * (1.0 - p) / (asked + 2.0))


def stop_level(stop: str, never_taught: float | None) -> float | None:
    """Turn the setting `stop` into an accuracy in percent; None runs all steps."""
    return {"never": None, "never-taught": never_taught}[stop] if stop in STOPS else float(stop)


def rate(step: int, config: UnlearnConfig) -> float:
    """Return the learning rate's factor at a step: linear warm-up, then constant or half a cosine."""
    warm = math.ceil(config.warmup * config.steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, config.steps - warm)))


def _finite(losses: dict[str, float], parameters: Sequence[torch.nn.Parameter]) -> bool:
    """Say whether a step may be made. A gradient can overflow where the losses do not, and would spoil the weights."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    return math.isfinite(sum(losses.values())) and math.isfinite(float(torch.nn.utils.get_total_norm(gradients)))


def _check(model: Any, watched: Watched, prefix: Prefix | None) -> dict[str, float]:
    within = prefix.over if prefix else None
    return {
        "unlearn": accuracy(model, watched.unlearn, within=within),
        "retention": accuracy(model, watched.retention, within=within),
    }


def _watch(step: int, result: Unlearned, callbacks: Callbacks) -> None:
    if callbacks.ask is not None:
        answers = callbacks.ask()
        result.watched.append({"step": step, "answers": answers})
        callbacks.report.event("watch", step=step, answers=answers)


def _overshot(result: Unlearned) -> bool:
    """Say whether the last check lies below the target by more than the one before it lies above."""
    if result.target is None or len(result.checks) < 2:
        return False
    previous, last = (check["unlearn"] for check in result.checks[-2:])
    return last < result.target and result.target - last > abs(previous - result.target)


def _why_stop(measured: dict[str, float], step: int, result: Unlearned, config: UnlearnConfig) -> str:
    """Return why the loop should end here, or an empty string."""
    if measured["retention"] < config.retain_floor:
        low = f"retention accuracy {measured['retention']:.1f} % is under the floor of {config.retain_floor:.1f} %"
        return f"step {step}: {low}; the checkpoint of step {result.step} is kept"
    if result.target is not None and measured["unlearn"] <= result.target:
        kept = "" if result.step == step else f"; the checkpoint of step {result.step} is nearer to it and kept"
        return (
            f"step {step}: unlearn accuracy {measured['unlearn']:.1f} % is down at the target of {result.target:.1f} %{kept}"
        )
    return ""


def verify(adapters: Adapters, region: Sequence[str], idle: Sequence[str] = ()) -> None:
    """Check that exactly the region changed, but for `idle` tensors. Raises UserError that names the first that breaks
    it.
    """
    inside, moved = set(region) - set(idle), set(adapters.moved())
    if stayed := inside - moved:
        raise UserError(f"The tensor {min(stayed)} of the region did not change.", "Raise the learning rate or the steps.")
    if strayed := moved - inside:
        raise UserError(f"The tensor {min(strayed)} changed although it is outside the region.", "Report this as a bug.")
