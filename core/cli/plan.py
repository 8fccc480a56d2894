"""The verb plan: what a run would need, worked out without weights and without running it."""

from __future__ import annotations

import argparse
from typing import Any

from core.cli.terminal import configured, note, out, run_options, table
from core.jobs import estimate, sweep_estimate
from core.plan import run_plan
from core.plan.model_memory import parameter_count
from core.plan.run_plan import Plan
from core.runs import store
from core.util.errors import UserError

GIB = 2**30


def options(command: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    run_options(command)
    command.add_argument("--gpus", metavar="N", type=int, help="spread the layers over so many GPUs (default: this machine)")
    command.add_argument(
        "--gpu-memory", metavar="GiB", type=float, help="memory of one GPU: does it fit, how many are needed"
    )
    command.add_argument("--rate", metavar="TOKENS/S", type=float, help="tokens a second, forward and backward, for seconds")
    command.add_argument(
        "--measure", action="store_true", help="measure the seconds with a few real steps of every stage here"
    )


def show(given: argparse.Namespace) -> int:
    """Print parameters, memory by part and device, seconds a stage, disk."""
    run_plan.checked(given.gpus, given.gpu_memory, given.rate)
    config = configured(given)
    gpu = bool(given.gpus or given.gpu_memory)
    note("Running one step of every stage without weights …")
    found = run_plan.make(config, gpu=gpu, rate=given.rate)
    value: dict[str, Any] = run_plan.plain(found)
    room = given.gpu_memory * GIB if given.gpu_memory else None
    if gpu:
        value["devices"] = found.devices(given.gpus or found.needed(room or 0.0) or 1)
        value["gpus_needed"] = found.needed(room) if room else None
    lines = _lines(found, value, room)
    if given.measure and parameter_count(config.model.name) is not None:
        note("Measuring a few real steps of every stage …")
        folder = store.runs_folder(given.runs)
        value["measured"] = None
        try:
            value["measured"] = sweep_estimate.steps_of(config, folder)
            lines += ["", *estimate.lines(value["measured"])]
        except UserError as error:
            note(f"The seconds could not be measured: {error}")
    return out(given, value, lines)


def _lines(found: Plan, value: dict[str, Any], room: float | None) -> list[str]:
    """Return the whole as text."""
    stages = list(found.memory)
    parts = list(dict.fromkeys(part for of in found.memory.values() for part, size in of.items() if size))
    rows: list[list[Any]] = [["memory, GB", *stages]]
    rows += [[part, *(f"{of.get(part, 0.0) / 1e9:.2f}" for of in found.memory.values())] for part in parts]
    rows.append(["total", *(f"{sum(of.values()) / 1e9:.2f}" for of in found.memory.values())])
    work = found.work
    lines = [
        (
            f"{found.model}: {found.parameters / 1e9:.3f} billion parameters in {found.layers} layers as "
            f"{found.dtype} ({found.source})."
        ),
        f"An adapter has {found.tensors} tensors and {found.adapter / 1e6:.2f} million parameters.",
        f"{work.examples} examples of up to {work.longest} tokens, by {work.tokenizer}.",
        "",
        *table(rows),
        f"Most is needed in stage {found.fullest}.",
    ]
    if "devices" in value:
        lines += ["", *_devices(value["devices"], room, value["gpus_needed"])]
    lines += [
        "",
        *_work(found),
        "",
        "On disk: " + ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in found.disk.items()),
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


def _work(found: Plan) -> list[str]:
    work, stages = found.work, dict.fromkeys([*found.work.trained, *found.work.read])
    rows: list[list[Any]] = [["stage", "tokens there and back", "tokens forward only", "seconds"]]
    for stage in stages:
        seconds = f"{found.seconds[stage]:.0f}" if found.seconds else None
        rows.append([stage, f"{work.trained.get(stage, 0):,.0f}", f"{work.read.get(stage, 0):,.0f}", seconds])
    if not found.seconds:
        return [*table(rows), "Seconds follow from --rate, or from --measure where the model is here."]
    return [*table(rows), f"All of it: {sweep_estimate.duration(sum(found.seconds.values()))}, if no stage ends early."]
