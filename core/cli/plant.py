"""The verb plant: facts taught into chosen modules, and which score finds them there."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.cli.progress_bar import followed
from core.cli.terminal import STATUS, configured, note, out, run_options, table
from core.jobs import planting
from core.localization import plantings
from core.runs import store
from core.runs.store import Run
from core.util import files
from core.util.errors import UserError
from core.util.progress import duration


def options(command: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    run_options(command)
    command.add_argument("--plants", metavar="N", type=int, help="draws of modules and facts (3; of your own model 1)")
    command.add_argument("--seeds", metavar="N", type=int, help="teachings of each (2; of your own model 1)")
    command.add_argument("--cells", metavar="N", type=int, default=10, help="modules that learn U, and as many R (10)")
    command.add_argument("--facts", metavar="N", type=int, default=6, help="facts of each set of modules, at most (6)")
    command.add_argument("--dry-run", action="store_true", help="say how long it would take, and do nothing")
    command.add_argument("--show", action="store_true", help="print what the last planting found, or the one in -o")
    command.add_argument("-o", "--output", metavar="FOLDER", help="also write planted.json there")


def plant(given: argparse.Namespace) -> int:
    """Plant facts, follow it to its end, say which score found them."""
    folder = store.runs_folder(given.runs)
    if given.show:
        return _shown(given, planting.result(Run(Path(given.output)) if given.output else planting.latest(folder)))
    config = configured(given, "this-machine")
    few = planting.Settings() if config.model.name == "bundled" else planting.FEW
    settings = planting.Settings(
        plants=few.plants if given.plants is None else given.plants,
        seeds=few.seeds if given.seeds is None else given.seeds,
        cells=given.cells,
        facts=given.facts,
    )
    settings.check()
    expected = planting.seconds(config, settings, folder)
    words = "How long it takes is not known: the model is not here." if expected is None else _time(settings, *expected)
    if given.dry_run:
        output = {"plantings": len(settings.all), "seconds": expected and expected[0], "how": expected and expected[1]}
        return out(given, output, [words])
    note(words)
    work = planting.start(config, settings, folder)
    state, problem = followed(work)
    record = planting.result(work)
    if given.output and record:
        Path(given.output).mkdir(parents=True, exist_ok=True)
        files.write_json(Path(given.output) / planting.FILE, record)
    if state != "done":
        note("What is done stays: the same command goes on from it.")
        out(given, {"state": state, **problem}, [])
        return STATUS.get(state, 1)
    return _shown(given, record)


def _time(settings: planting.Settings, seconds: float, how: str) -> str:
    return f"{len(settings.all)} plantings: about {duration(seconds)} more ({how})."


def _shown(given: argparse.Namespace, record: Mapping[str, Any]) -> int:
    if not record:
        raise UserError(f"There is no {planting.FILE} that can be read.", "Run `python -m core plant` first.")
    rows: list[list[Any]] = [["score", "U against R", "U against decoys", "found", "above ‖ΔW‖"]]
    for name, score in record["scores"].items():
        rows.append([name, *(_written(score[measure]) for measure in (*plantings.MEASURES, "above_update"))])
    head = "Area under the curve (1 finds all, 0.5 is chance), with 95 % intervals over plantings:"
    return out(given, record, [*plantings.sentences(record), head, *table(rows)])


def _written(value: list[float | None]) -> str:
    mean, low, high = value
    return f"{mean:.2f}" if low is None or high is None else f"{mean:.2f} ({low:.2f} to {high:.2f})"
