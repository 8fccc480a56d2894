"""The verbs that list what there is: methods, region rules, metrics, models, licences."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from core.cli.licences import SHIPPED, packages
from core.cli.terminal import out, table
from core.config import run_config
from core.methods import METHODS, Method
from core.metrics import METRICS
from core.models.names import BUNDLED, bundled_gguf
from core.regions import REGIONS
from core.util.errors import unknown
from core.util.paths import cache_folder


def options(command: argparse.ArgumentParser) -> None:
    """Add what `methods` takes."""
    command.add_argument("names", metavar="NAME", nargs="*", help="only these")


def methods(given: argparse.Namespace) -> int:
    """List methods and region rules with their settings; with names, those alone."""
    by_name: dict[str, Any] = {**METHODS, **REGIONS}
    for name in given.names:
        if name not in by_name:
            raise unknown("method or region rule", name, by_name)
    output = {
        family: [_described(name, kind) for name, kind in members.items() if name in (given.names or members)]
        for family, members in (("methods", METHODS), ("regions", REGIONS))
    }
    lines = [line for family, members in output.items() if members for line in [f"{family}:", *_listed(members)]]
    return out(given, output, lines)


def _listed(members: Sequence[dict[str, Any]]) -> Iterator[str]:
    for member in members:
        yield f"  {member['name']:16}{member['help']}"
        for key, head in (("formula", "loss"), ("source", "source"), ("known_for", "known for")):
            if member.get(key):
                yield f"  {'':18}{head}: {member[key]}"
        for setting in member["settings"]:
            source = f" ({setting['source']})" if setting["source"] else ""
            yield (
                f"  {'':18}{setting['name']} = {setting['default']}{' ' + setting['unit'] if setting['unit'] else ''}: "
                f"{setting['help']}{source}"
            )


def _described(name: str, kind: type) -> dict[str, Any]:
    if not issubclass(kind, Method):
        return {"name": name, "help": (kind.__doc__ or "").strip().splitlines()[0], "settings": run_config.describe(kind())}
    first = (sys.modules[kind.__module__].__doc__ or "").strip().splitlines()[0]
    return {
        "name": name,
        "help": first.partition(": ")[2] or first,
        "formula": kind.formula,
        "source": kind.source,
        "known_for": kind.known_for,
        "streams": list(kind.streams),
        "settings": run_config.describe(kind()),
    }


def metrics(given: argparse.Namespace) -> int:
    """List metrics: unit, meaning, and which direction is wanted."""
    rows = [{"name": m.name, "unit": m.unit, "help": m.help, "better": m.better} for m in METRICS.values()]
    return out(
        given,
        {"metrics": rows},
        table(
            [
                ["metric", "unit", "wanted", "what it is"],
                *([m.title, m.unit, m.better, m.help] for m in METRICS.values()),
            ]
        ),
    )


def models(given: argparse.Namespace) -> int:
    """List models on this machine."""
    there = bundled_gguf() is not None
    entries = [{"name": "bundled", "what": BUNDLED, "available": there}]
    for path in sorted((cache_folder() / "models").glob("*/config.json")):
        entries.append({"name": str(path.parent), "what": "converted from GGUF", "available": True})
    rows: list[list[Any]] = [
        ["name", "what", "available"],
        *([m["name"], m["what"], "yes" if m["available"] else "no"] for m in entries),
    ]
    others = "Others: a hub id (org/name), a folder of safetensors, a GGUF file, a LoRA adapter folder."
    return out(given, {"models": entries}, [*table(rows), "", others])


def licences(given: argparse.Namespace) -> int:
    """List packages and what ships with the project, with their licences."""
    groups = {"packages": packages(), "shipped": SHIPPED}
    rows = [[entry.name, entry.version, entry.licence, entry.why] for entries in groups.values() for entry in entries]
    output = {kind: [asdict(entry) for entry in entries] for kind, entries in groups.items()}
    return out(given, output, table([["name", "version", "licence", "what for"], *rows]))
