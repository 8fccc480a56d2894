"""The verb plan: what a run would need, worked out without weights and without running it."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from core.cli.terminal import configured, note, out, run_options, table
from core.cli.waiting import Waiting
from core.jobs import estimate, sweep_estimate
from core.plan import cards, run_plan
from core.plan.cards import Fit
from core.plan.model_memory import parameter_count
from core.plan.run_plan import Plan
from core.runs import store
from core.util.errors import UserError
from core.util.progress import duration

GIB = 2**30


def options(command: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    run_options(command)
    command.add_argument("--gpus", metavar="N", type=int, help="spread the layers over so many GPUs (default: this machine)")
    command.add_argument(
        "--gpu-memory", metavar="GiB", type=float, help="memory of one GPU: does it fit, how many are needed"
    )
    command.add_argument("--cards", action="store_true", help="also say which settings fit on one GPU of 24, 40 or 80 GiB")
    command.add_argument("--rate", metavar="TOKENS/S", type=float, help="tokens a second, forward and backward, for seconds")
    command.add_argument(
        "--measure", action="store_true", help="measure the seconds with a few real steps of every stage here"
    )


def show(given: argparse.Namespace) -> int:
    """Print parameters, memory by part and device, seconds a stage, disk."""
    run_plan.checked(given.gpus, given.gpu_memory, given.rate)
    config = configured(given)
    gpu = bool(given.gpus or given.gpu_memory or given.cards)
    note("Running one step of every stage without weights …")
    plan = run_plan.make(config, gpu=gpu, rate=given.rate)
    output: dict[str, Any] = run_plan.plain(plan)
    room = given.gpu_memory * GIB if given.gpu_memory else None
    if gpu:
        output["devices"] = plan.devices(given.gpus or plan.needed(room or 0.0) or 1)
        output["gpus_needed"] = plan.needed(room) if room else None
    lines = _lines(plan, output, room)
    if given.cards:
        note("The same with smaller micro-batches, and with layers that keep their input alone …")
        found = cards.fits(config)
        output["cards"] = [{**dataclasses.asdict(fit), "cards": fit.cards} for fit in found]
        lines += ["", *_cards(found)]
    if given.measure and parameter_count(config.model.name) is not None:
        note("Measuring a few real steps of every stage …")
        folder = store.runs_folder(given.runs)
        output["measured"] = None
        try:
            output["measured"] = sweep_estimate.steps_of(config, folder, Waiting())
            lines += ["", *estimate.lines(output["measured"])]
        except UserError as error:
            note(f"The seconds could not be measured: {error}")
    return out(given, output, lines)


def _lines(plan: Plan, output: dict[str, Any], room: float | None) -> list[str]:
    """Return the whole as text."""
    stages = list(plan.memory)
    parts = list(dict.fromkeys(part for sizes in plan.memory.values() for part, size in sizes.items() if size))
    rows: list[list[Any]] = [["memory, GB", *stages]]
    rows += [[part, *(f"{sizes.get(part, 0.0) / 1e9:.2f}" for sizes in plan.memory.values())] for part in parts]
    rows.append(["total", *(f"{sum(sizes.values()) / 1e9:.2f}" for sizes in plan.memory.values())])
    work = plan.work
    lines = [
        (
            f"{plan.model}: {plan.parameters / 1e9:.3f} billion parameters in {plan.layers} layers as "
            f"{plan.dtype} ({plan.source})."
        ),
        f"An adapter has {plan.tensors} tensors and {plan.adapter / 1e6:.2f} million parameters.",
        f"{work.examples} examples of up to {work.longest} tokens, by {work.tokenizer}.",
        "",
        *table(rows),
        f"Most is needed in stage {plan.fullest}.",
    ]
    if "devices" in output:
        lines += ["", *_devices(output["devices"], room, output["gpus_needed"])]
    lines += [
        "",
        *_work(plan),
        "",
        "On disk: " + ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in plan.disk.items()),
    ]
    return lines


def _devices(devices: list[dict[str, float]], room: float | None, needed: int | None) -> list[str]:
    totals = [sum(device.values()) / GIB for device in devices]
    each = f"{totals[0]:.1f}" if len(totals) == 1 else f"{min(totals):.1f} to {max(totals):.1f}"
    lines = [f"Layers spread over {len(devices)} GPU{'s' * (len(devices) > 1)}: {each} GiB{' each' * (len(devices) > 1)}."]
    if room is None:
        return lines
    lines.append(
        f"{'It fits' if max(totals) <= room / GIB else 'It does not fit'} into {room / GIB:g} GiB each; "
        + (f"the fewest that hold it are {needed}." if needed else "not even one layer a GPU does: use smaller batches.")
    )
    return lines


def _cards(fits: list[Fit]) -> list[str]:
    """Return what one GPU would hold with each cut and each way to keep the weights, and the plainest that fits a card."""
    ways = list(dict.fromkeys(fit.weights for fit in fits))
    rows: list[list[Any]] = [["GB on one GPU: micro-batch", "checkpointing", *ways, "fullest stage"]]
    for cut in dict.fromkeys((fit.micro_batch, fit.checkpointing) for fit in fits):
        same = [fit for fit in fits if (fit.micro_batch, fit.checkpointing) == cut]
        needed = [f"{fit.needed / 1e9:.1f}" for fit in same]
        rows.append([cut[0] or "whole", "yes" if cut[1] else "no", *needed, same[0].stage])
    lines = table(rows)
    for card in cards.CARDS:
        fit = cards.plainest(fits, card)
        how = "nothing fits" if fit is None else fit.settings or "it fits as it is"
        lines.append(f"One GPU of {card} GiB: {how}.")
    return lines


def _work(plan: Plan) -> list[str]:
    work, stages = plan.work, dict.fromkeys([*plan.work.trained, *plan.work.read])
    rows: list[list[Any]] = [["stage", "tokens there and back", "tokens forward only", "seconds"]]
    for stage in stages:
        seconds = f"{plan.seconds[stage]:.0f}" if plan.seconds else None
        rows.append([stage, f"{work.trained.get(stage, 0):,.0f}", f"{work.read.get(stage, 0):,.0f}", seconds])
    if not plan.seconds:
        return [*table(rows), "Seconds follow from --rate, or from --measure where the model is here."]
    return [*table(rows), f"All of it: {duration(sum(plan.seconds.values()))}, if no stage ends early."]
