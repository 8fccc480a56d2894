"""The update loop: any method on any region.

Only the region's tensors get gradients and optimizer state, so backward stops at the lowest of them. At the end a
check that cannot be skipped: outside the region "after" equals "before" bit by bit, inside every tensor changed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from core.adapters import Adapters
from core.batching import Encoded, by_length, collate, epochs, join
from core.config import UnlearnConfig
from core.errors import UserError
from core.likelihood import accuracy, answer_logits, per_example, token_nll
from core.methods import Context
from core.progress import Reporter

Saver = Callable[[int, dict[str, torch.Tensor]], None]
"""(step, the region's tensors) -> stored as a checkpoint"""
Asker = Callable[[], list[dict[str, Any]]]
"""-> what adapter "after" answers to the watch questions now; see core/watch.py"""


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
    curve: list[dict[str, float]] = field(default_factory=list)
    """per step: step, forget_loss, retain_loss, rate"""
    checks: list[dict[str, float]] = field(default_factory=list)
    """per checkpoint: step, unlearn, retention (accuracy in percent)"""
    watched: list[dict[str, Any]] = field(default_factory=list)
    """at step 0 and per checkpoint: step, answers to the watch questions"""


@dataclass(frozen=True)
class Watched:
    """The examples on which the loop measures itself: dev where some are held out, else train."""

    unlearn: Sequence[Encoded]
    retention: Sequence[Encoded]
    never_taught: float | None
    """accuracy (%) of the never-taught model on the same unlearn examples; None where there is none"""


def unlearn(
    adapters: Adapters,
    region: Sequence[str],
    forget: Sequence[Encoded],
    retain: Sequence[Encoded],
    watched: Watched,
    config: UnlearnConfig,
    *,
    pad: int,
    seed: int,
    report: Reporter,
    save: Saver,
    ask: Asker | None = None,
) -> Unlearned:
    """Train adapter "after", a copy of "before", on the region.

    The result is the checkpoint nearest to the target: the first that reaches it, or the one before if that is closer.
    If the retention floor is broken first, it is the last checkpoint above it. Raises UserError when the loss is not
    finite (checkpoints up to then are kept) or when the final check fails.
    """
    adapters.copy("before", "after")
    result = Unlearned(target=stop_level(config.stop, watched.never_taught))
    started, source = time.monotonic(), torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    stream = pairs(forget, retain, config, source)
    kept: dict[str, torch.Tensor] = {}
    _watch(0, ask, result, report)
    with adapters.trainable("after", region) as parameters, adapters.active("after") as model:
        optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, config))
        for step in range(1, config.steps + 1):
            report.check()
            seen = result.tokens
            losses = _step(model, *next(stream), config, pad, adapters.device, result)
            if not _finite(losses, parameters):
                report.event("diverged", step=step)
                result.stopped = f"diverged at step {step}; the last checkpoint before it is kept"
                break
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            result.steps = step
            result.curve.append({"step": step, **losses, "rate": float(schedule.get_last_lr()[0])})
            measured: dict[str, float] = {}
            if step % config.check_every == 0 or step == config.steps:
                measured = _check(model, watched, pad, adapters.device)
                result.checks.append({"step": step, **measured})
                _watch(step, ask, result, report)
                broken = measured["retention"] < config.retain_floor
                if not kept or not (broken or _overshot(result)):
                    kept = {name: adapters.tensor("after", name).detach().clone() for name in region}
                    result.step = step
                    save(step, kept)
                result.stopped = _why_stop(measured, step, result, config)
            report.progress(step, config.steps, "steps", tokens=result.tokens - seen, **losses, **measured)
            if result.stopped:
                break
    if not kept:
        raise UserError("Unlearning diverged before the first checkpoint.", "Lower unlearn.learning_rate or the weights.")
    adapters.set("after", kept)
    result.stopped = result.stopped or f"all {config.steps} steps made"
    result.seconds = time.monotonic() - started
    verify(adapters, region)
    return result


def stop_level(stop: str, never_taught: float | None) -> float | None:
    """Turn the setting `stop` into an accuracy in percent; None runs all steps."""
    if stop == "never":
        return None
    if stop == "never-taught":
        return never_taught
    try:
        level = float(stop)
    except ValueError:
        level = math.nan
    if not 0 <= level <= 100:
        raise UserError(f"unlearn.stop cannot be {stop!r}.", "Use never-taught, never, or a percentage.")
    return level


def rate(step: int, config: UnlearnConfig) -> float:
    """Return the learning rate's factor at a step: linear warm-up, then constant or half a cosine."""
    warm = math.ceil(config.warmup * config.steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, config.steps - warm)))


def pairs(
    forget: Sequence[Encoded], retain: Sequence[Encoded], config: UnlearnConfig, source: torch.Generator
) -> Iterator[tuple[list[Encoded], list[Encoded]]]:
    """Yield (forget batch, retain batch) for ever, each shuffled and length-bucketed on its own."""
    return zip(epochs(forget, config.batch_size, source), epochs(retain, config.retain_batch_size, source), strict=False)


def _step(
    model: Any,
    forget: Sequence[Encoded],
    retain: Sequence[Encoded],
    config: UnlearnConfig,
    pad: int,
    device: torch.device,
    result: Unlearned,
) -> dict[str, float]:
    """Run forward and backward; forget and retain share one forward pass, whose loss is split afterwards."""
    batch = collate(forget, pad, device)
    if config.method.uses_retain:
        batch = join(batch, collate(retain, pad, device), pad)
    result.tokens += batch.ids.numel()
    nll = token_nll(answer_logits(model, batch), batch.targets)

    def losses(part: slice, ceiling: float = 0.0) -> torch.Tensor:
        capped = nll.clamp(max=ceiling) if ceiling else nll
        return per_example(capped, batch.owners, len(batch))[part]

    scopes = {"forget_loss": slice(0, len(forget)), "retain_loss": slice(len(forget), len(batch))}
    context = Context(forget=partial(losses, scopes["forget_loss"]), retain=partial(losses, scopes["retain_loss"]))
    config.method.loss(context).backward()
    shown = scopes if config.method.uses_retain else {"forget_loss": scopes["forget_loss"]}
    return {name: float(losses(part).detach().mean()) for name, part in shown.items()}


def _finite(losses: dict[str, float], parameters: Sequence[torch.nn.Parameter]) -> bool:
    """Say whether a step may be made. A gradient can overflow where the losses do not, and would spoil the weights."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    return math.isfinite(sum(losses.values())) and math.isfinite(float(torch.nn.utils.get_total_norm(gradients)))


def _check(model: Any, watched: Watched, pad: int, device: torch.device) -> dict[str, float]:
    return {
        "unlearn": accuracy(model, watched.unlearn, pad, device=device),
        "retention": accuracy(model, watched.retention, pad, device=device),
    }


def _watch(step: int, ask: Asker | None, result: Unlearned, report: Reporter) -> None:
    if ask is not None:
        answers = ask()
        result.watched.append({"step": step, "answers": answers})
        report.event("watch", step=step, answers=answers)


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


def verify(adapters: Adapters, region: Sequence[str]) -> None:
    """Check that exactly the region changed. Raises UserError that names the first tensor that breaks it."""
    inside = set(region)
    for cell in adapters.cells:
        same = torch.equal(adapters.tensor("before", cell.name), adapters.tensor("after", cell.name))
        if same and cell.name in inside:
            raise UserError(f"The tensor {cell.name} of the region did not change.", "Raise the learning rate or the steps.")
        if not same and cell.name not in inside:
            raise UserError(f"The tensor {cell.name} changed although it is outside the region.", "Report this as a bug.")


def spread(members: Sequence[Encoded], size: int) -> list[Encoded]:
    """Return `size` of the examples, evenly over their lengths: the same ones for every run on the same data."""
    ordered = [m for group in by_length(members, len(members)) for m in group]
    return [ordered[i * len(ordered) // size] for i in range(size)] if size < len(ordered) else ordered
