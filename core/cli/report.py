"""The verbs report and site: a run's report as one file, and runs as pages for any web space."""

from __future__ import annotations

import argparse
from pathlib import Path

from core import report as report_
from core.cli.terminal import note, out
from core.report import site as site_
from core.runs import store


def options(command: argparse.ArgumentParser) -> None:
    """Add the options of `report`."""
    command.add_argument("id", metavar="RUN")
    command.add_argument("-o", "--output", metavar="FILE", help="the .html file to write (default: RUN.html)")
    _told(command)


def site_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `site`."""
    command.add_argument("ids", metavar="RUN", nargs="+")
    command.add_argument("-o", "--output", metavar="FOLDER", required=True, help="a new folder, or a site to be replaced")
    _told(command)


def _told(command: argparse.ArgumentParser) -> None:
    """Add what says how much is told."""
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
    _warn(given)
    output = {"run": run.id, "file": str(target), "bytes": size, "redacted": given.redact}
    return out(given, output, [f"{target} ({size / 1e6:.1f} MB)"])


def site(given: argparse.Namespace) -> int:
    """Write a site about runs."""
    folder, target = store.runs_folder(given.runs), Path(given.output)
    runs = [store.find(name, folder) for name in given.ids]
    size = site_.write(runs, target, redact=given.redact, names=given.names, folder=folder)
    _warn(given)
    output = {"runs": [run.id for run in runs], "folder": str(target), "bytes": size, "redacted": given.redact}
    return out(given, output, [f"{target / 'index.html'} ({size / 1e6:.1f} MB)"])


def _warn(given: argparse.Namespace) -> None:
    if not given.redact:
        note("It holds questions and answers, covered but readable. With --redact it holds none.")
