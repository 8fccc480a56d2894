"""The verb harness: lm-evaluation-harness on a run's voices."""

from __future__ import annotations

import argparse

from core.cli import progress_bar
from core.cli.terminal import one_run, out, table
from core.jobs import lm_eval_harness as harness_
from core.runs import store


def options(command: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    one_run(command)
    command.add_argument(
        "--tasks", metavar="A,B", required=True, help="as the harness names them, e.g. arc_easy,truthfulqa_mc2"
    )
    command.add_argument("--voices", metavar="A,B", default="before,after,never", help="default: before,after,never")
    command.add_argument("--limit", metavar="N", type=int, help="examples of each task (default: all)")


def harness(given: argparse.Namespace) -> int:
    """Evaluate a run's voices on lm-evaluation-harness tasks."""
    folder = store.runs_folder(given.runs)
    run = store.find(given.id, folder)
    voices = [name for name in given.voices.split(",") if name]
    work = harness_.start(run, [name for name in given.tasks.split(",") if name], voices, given.limit, folder)
    progress_bar.completed(work)
    results = harness_.result(work)
    measures = sorted({(task, name) for tasks in results.values() for task, values in tasks.items() for name in values})
    rows = [
        [task, name, *(f"{results[v].get(task, {}).get(name, float('nan')):.4f}" for v in voices)] for task, name in measures
    ]
    return out(given, {"run": run.id, "results": results}, table([["task", "measure", *voices], *rows]))
