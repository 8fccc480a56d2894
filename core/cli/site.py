"""The verb site: runs as pages that any web space serves, and that open from a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from core.cli.terminal import note, out
from core.report import site as site_
from core.runs import store


def options(command: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    command.add_argument("ids", metavar="RUN", nargs="+")
    command.add_argument("-o", "--output", metavar="FOLDER", required=True, help="a new folder, or a site to be replaced")
    command.add_argument("--names", action="store_true", help="call those who were to be forgotten by their names")
    command.add_argument("--redact", action="store_true", help="without any question, answer or subject's name")


def site(given: argparse.Namespace) -> int:
    """Write a site about runs."""
    folder, target = store.runs_folder(given.runs), Path(given.output)
    runs = [store.find(name, folder) for name in given.ids]
    size = site_.write(runs, target, redact=given.redact, names=given.names, folder=folder)
    if not given.redact:
        note("It holds questions and answers, covered but readable in the files. With --redact it holds none.")
    output = {"runs": [run.id for run in runs], "folder": str(target), "bytes": size, "redacted": given.redact}
    return out(given, output, [f"{target / 'index.html'} ({size / 1e6:.1f} MB)"])
