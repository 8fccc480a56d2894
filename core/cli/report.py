"""The verb report: a run's report as one file."""

from __future__ import annotations

import argparse
from pathlib import Path

from core import report as report_
from core.cli.terminal import note, out
from core.runs import store


def options(command: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    command.add_argument("id", metavar="RUN")
    command.add_argument("-o", "--output", metavar="FILE", help="the .html file to write (default: RUN.html)")
    command.add_argument("--names", action="store_true", help="call those who were to be forgotten by their names")
    command.add_argument("--redact", action="store_true", help="without any question, answer or subject's name")


def report(given: argparse.Namespace) -> int:
    """Write a run's report."""
    folder = store.runs_folder(given.runs)
    run = store.find(given.id, folder)
    nameless = store.nameless(run.id)
    name = f"{nameless}-redacted" if given.redact else run.id if given.names else nameless
    target = Path(given.output or f"{name}.html")
    size = report_.write(run, target, redact=given.redact, names=given.names, folder=folder)
    if not given.redact:
        note("It holds questions and answers, covered but readable in the file. With --redact it holds none.")
    output = {"run": run.id, "file": str(target), "bytes": size, "redacted": given.redact}
    return out(given, output, [f"{target} ({size / 1e6:.1f} MB)"])
