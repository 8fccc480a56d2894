"""The verb presets: named sets of settings, and where the values of the published ones stand."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from core.cli.terminal import out, table
from core.config import published, run_config
from core.config.presets import DEFAULT, PRESETS
from core.runs import store
from core.util.errors import UserError, unknown


def options(command: argparse.ArgumentParser) -> None:
    """Add what `presets` takes."""
    command.add_argument("--show", metavar="NAME", help="the settings of one, each with its source")
    command.add_argument(
        "--method", metavar="NAME", help="with --show: as the paper runs this baseline; memflex is the usual"
    )
    command.add_argument("--against", metavar="RUN", help="with --show: what a run has otherwise")


def presets(given: argparse.Namespace) -> int:
    """List presets, or show one."""
    if not given.show:
        if given.method or given.against:
            raise UserError("--method and --against belong to one preset.", "Name it with --show NAME.")
        return out(given, {"presets": PRESETS}, _listed())
    if given.show not in PRESETS:
        raise unknown("preset", given.show, PRESETS)
    return _shown(given)


def _listed() -> list[str]:
    rows: list[Sequence[Any]] = [["preset", "method", "region", "steps", "settings"]]
    for name, values in PRESETS.items():
        config = run_config.preset(name)
        steps = f"{config.unlearn.epochs} passes" if config.unlearn.epochs else config.unlearn.steps
        rows.append([name, config.unlearn.method.name, config.region.name, steps, len(values)])
    return [*table(rows), "", f"{DEFAULT} is what a run is made with where no other is named."]


def _shown(given: argparse.Namespace) -> int:
    method, name = given.method or "memflex", given.show
    chosen = run_config.preset(name)
    if given.method:
        chosen = run_config.with_method(chosen, method)
    sourced = published.values(name, method) if name in published.PRESETS else {}
    flat, usual = (run_config.flat(config.to_json()) for config in (chosen, run_config.RunConfig()))
    settings = [
        {"setting": path, "value": value, "usual": usual.get(path), **_source(sourced, path)}
        for path, value in flat.items()
        if path != "preset" and (path in sourced or value != usual.get(path))
    ]
    otherwise = published.OWN if sourced else ()
    against = [{"setting": row[0], "preset": row[1], "run": row[2]} for row in _against(given)]
    output: dict[str, Any] = {
        "preset": name,
        "settings": settings,
        "here_otherwise": list(otherwise),
        "disagreements": [asdict(each) for each in published.DISAGREEMENTS] if sourced else [],
        "against": against,
    }
    heads = ["setting", "value", "usual", "source"]
    lines = table([heads, *([*map(_text, list(row.values())[:3]), _with(row["source"], row["why"])] for row in settings)])
    if otherwise:
        lines += ["", f"Lines are of {published.REPOSITORY} at {published.COMMIT[:7]}."]
        lines += ["", "What is done otherwise here, whatever the settings:", *(f"  {text}" for text in otherwise)]
        lines += ["", "Where paper and code, or two scripts, do not agree; this preset follows the code:"]
        rows = [["what", "paper", "code", "source"], *([d.what, d.paper, d.code, d.source] for d in published.DISAGREEMENTS)]
        lines += [f"  {line}" for line in table(rows)]
    if against:
        lines += ["", f"What {given.against} has otherwise:"]
        lines += table([["setting", name, given.against], *([_text(v) for v in row.values()] for row in against)])
    return out(given, output, lines)


def _against(given: argparse.Namespace) -> list[tuple[str, Any, Any]]:
    """Return what a run has otherwise than a preset: (setting, the preset's value, the run's)."""
    if not given.against:
        return []
    own = run_config.flat(store.by_id(given.against, store.runs_folder(given.runs)).config().to_json())
    if given.show in published.PRESETS:
        return published.differing(given.show, own)
    theirs = run_config.flat(run_config.preset(given.show).to_json())
    return [(path, theirs.get(path), own.get(path)) for path in {**theirs, **own} if theirs.get(path) != own.get(path)]


def _source(sourced: dict[str, published.Value], path: str) -> dict[str, str]:
    value = next((value for key, value in sourced.items() if path in published.places(key)), None)
    return {"source": value.source, "why": value.why} if value else {"source": "", "why": ""}


def _with(source: str, why: str) -> str:
    return f"{source} ({why})" if why else source


def _text(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
