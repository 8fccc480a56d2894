"""The verb run: from a configuration to its scores."""

from __future__ import annotations

import argparse

from core.cli.progress_bar import finished
from core.cli.terminal import cluster, cluster_options, configured, note, run_options
from core.jobs import lifecycle
from core.runs import store


def options(command: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    run_options(command)
    command.add_argument(
        "--processes", metavar="N", help="processes that share the run's examples, one GPU each if there are any"
    )
    command.add_argument("--resume", metavar="RUN", help="go on with one that was cancelled, failed or killed")
    cluster_options(command)


def run(given: argparse.Namespace) -> int:
    """Start a run, follow it to its end, print its scores."""
    folder = store.runs_folder(given.runs)
    if given.resume:
        started = store.find(given.resume, folder)
        lifecycle.resume(started)
    else:
        chosen = configured(given)
        if given.processes is not None:
            chosen = chosen.with_setting("processes", given.processes)
        started = lifecycle.submit(chosen, folder, cluster(given))
    note(f"Run {started.id}")
    return finished(given, started, started)
