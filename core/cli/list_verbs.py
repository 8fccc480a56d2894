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
    known: dict[str, Any] = {**METHODS, **REGIONS}
    for name in given.names:
        if name not in known:
            raise unknown("method or region rule", name, known)
    value = {
        family: [_described(name, kind) for name, kind in members.items() if name in (given.names or members)]
        for family, members in (("methods", METHODS), ("regions", REGIONS))
    }
    lines = [line for family, members in value.items() if members for line in [f"{family}:", *_listed(members)]]
    return out(given, value, lines)


def _listed(members: Sequence[dict[str, Any]]) -> Iterator[str]:
    for member in members:
        yield f"  {member['name']:16}{member['help']}"
        for key, head in (("formula", "loss"), ("source", "source"), ("known_for", "known for")):
            if member.get(key):
                yield f"  {'':18}{head}: {member[key]}"
        for item in member["settings"]:
            source = f" ({item['source']})" if item["source"] else ""
            yield (
                f"  {'':18}{item['name']} = {item['default']}{' ' + item['unit'] if item['unit'] else ''}: "
                f"{item['help']}{source}"
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
    value = [{"name": m.name, "unit": m.unit, "help": m.help, "better": m.better} for m in METRICS.values()]
    return out(
        given,
        {"metrics": value},
        table(
            [
                ["metric", "unit", "wanted", "what it is"],
                *([m[k] for k in ("name", "unit", "better", "help")] for m in value),
            ]
        ),
    )


def models(given: argparse.Namespace) -> int:
    """List models on this machine."""
    there = bundled_gguf() is not None
    found = [{"name": "bundled", "what": BUNDLED, "available": there}]
    for path in sorted((cache_folder() / "models").glob("*/config.json")):
        found.append({"name": str(path.parent), "what": "converted from GGUF", "available": True})
    rows: list[list[Any]] = [
        ["name", "what", "available"],
        *([m["name"], m["what"], "yes" if m["available"] else "no"] for m in found),
    ]
    others = "Others: a hub id (org/name), a folder of safetensors, a GGUF file, a LoRA adapter folder."
    return out(given, {"models": found}, [*table(rows), "", others])


def licences(given: argparse.Namespace) -> int:
    """List packages and what ships with the project, with their licences."""
    found = {"packages": packages(), "shipped": SHIPPED}
    rows = [[entry.name, entry.version, entry.licence, entry.why] for entries in found.values() for entry in entries]
    value = {kind: [asdict(entry) for entry in entries] for kind, entries in found.items()}
    return out(given, value, table([["name", "version", "licence", "what for"], *rows]))
