"""The verb `probes`: makes them for a run, or lists what there is."""

from __future__ import annotations

import argparse
from typing import Any

from core import probes
from core.cli.progress_bar import followed
from core.cli.terminal import STATUS, out, table
from core.config import run_config
from core.jobs import probes as job
from core.probes import scorecard
from core.runs import store
from core.util.errors import UserError


def options(command: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    command.add_argument("id", metavar="RUN", nargs="?", help="without one: list the probes")
    command.add_argument("--only", metavar="A,B", default="", help="these probes (default: all)")
    command.add_argument("--set", metavar="PROBE.KEY=VALUE", action="append", default=[], help="a probe's setting")


def run(given: argparse.Namespace) -> int:
    """Make probes for a run and print its scorecard; without a run list the probes with their settings."""
    if not given.id:
        return _list(given)
    folder = store.runs_folder(given.runs)
    run = store.find(given.id, folder)
    names = [name.strip() for name in given.only.split(",") if name.strip()]
    work = job.start(run, names, _settings(given.set), folder)
    state, problem = followed(work)
    output: dict[str, Any] = {"run": run.id, "state": state, "probes": probes.read(run, folder)}
    if state != "done":
        output |= problem
    if names:
        output["probes"] = {name: finding for name, finding in output["probes"].items() if name in names}
    out(given, output, scorecard.lines(output["probes"]))
    return STATUS.get(state, 1)


def _settings(given: list[str]) -> dict[str, str]:
    settings = {}
    for text in given:
        path, separator, value = text.partition("=")
        if not separator or "." not in path:
            raise UserError(f"“{text}” is not a setting of a probe.", "Write it as --set probe.key=value.")
        settings[path.strip()] = value.strip()
    return settings


def _list(given: argparse.Namespace) -> int:
    entries: list[dict[str, Any]] = [
        {
            "name": p.name,
            "title": p.title,
            "what": p.what,
            "kind": p.kind,
            "cost": p.cost,
            "source": p.source,
            "settings": run_config.describe(p),
        }
        for p in probes.PROBES.values()
    ]
    rows: list[list[Any]] = [["probe", "kind", "cost", "what it does"]]
    rows += [[p[key] for key in ("name", "kind", "cost", "what")] for p in entries]
    settings: list[list[Any]] = [["setting", "default", "what it is"]]
    settings += [[f"{p['name']}.{s['name']}", _shown(s["default"]), s["help"]] for p in entries for s in p["settings"]]
    return out(given, {"probes": entries}, [*table(rows), "", *table(settings)])


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
