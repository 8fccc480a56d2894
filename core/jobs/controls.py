"""Controls of a finished run: the same method and settings on other regions, and one plain sentence about what that shows.

All tensors; random tensors of equal number, three draws; all others; the paper's rule with the scopes exchanged; the
same rule on gradients from other random answers. Reads and writes files only; no torch.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from core.config.run_config import RunConfig
from core.jobs import sweep as sweep_
from core.jobs.sweep import Entry, Member, Sweep
from core.jobs.sweep_scores import row
from core.metrics import paired
from core.metrics.paired import Mean
from core.regions import All, Cells, Complement, Located, Random, RatioLayers, Region, Swapped, Top
from core.runs.store import Run
from core.util.errors import UserError

DRAWS = 3
SPLIT = "val"
MEASURED = (Located, Top, RatioLayers)
"""rules that choose by gradients, for which other random answers make a control"""


@dataclass(frozen=True)
class Controls:
    """What the controls of a run say."""

    rows: list[dict[str, Any]]
    """the given run first: as core.jobs.sweep_scores.row gives them, with `control` and `interval`: average success on val
    as [value, low, high], None where it is not there"""
    sentence: str
    """what they say, in words; empty until the given run and a random region are there"""
    difference: float | None
    """points of average success on val that the given run has more than the mean of the random regions"""
    interval: tuple[float, float] | None
    """its 95 % interval"""
    sweep: str
    """id of the sweep"""
    state: str
    """of the sweep"""


def create(run: Run, folder: Path) -> Sweep:
    """Make the controls of a finished run, queued. Raises UserError where it is not finished or has no counterpart."""
    config = run.config()
    return sweep_.create("controls", f"controls of {config.name or run.id}"[:60], {"run": run.id}, members(run), folder)


def members(run: Run) -> list[Member]:
    """Return the given run and what its controls would be. Raises UserError where it is not finished or has no
    counterpart.
    """
    if run.status().get("state") != "done":
        raise UserError(f"The run {run.id} is not finished.", "Controls need its region and its scores.")
    config = run.config()
    if config.audit.after:
        raise UserError("This is an audit of models made elsewhere: nothing was located here.", "Take a run of your own.")
    if config.unlearn.result_step and config.unlearn.picked_on != "dev":  # what dev chose holds for the controls as well
        raise UserError(
            "A checkpoint was picked as this run's result, and a control has nobody who picks one.",
            "Make the controls of the run that it was picked from.",
        )
    runs = [Member(config, _at(config, "given"), "given", run)]
    for name, region, offset in regions(run, config.region):
        changed = dataclasses.replace(config, region=region)
        if offset:
            changed = changed.with_setting("localize.seed_offset", config.localize.seed_offset + offset)
        runs.append(Member(changed, _at(config, name), "control"))
    return runs


def _at(config: RunConfig, control: str) -> dict[str, Any]:
    return {"method": config.unlearn.method.label, "control": control, "seed": config.seed}


def regions(run: Run, rule: Region) -> list[tuple[str, Region, int]]:
    """Return (name, rule, offset of the localization's seed) of each control that a region has.

    The counterparts of the paper's rule follow its thresholds; those of any other region are lists of tensors.
    """
    if isinstance(rule, All | Random | Complement | Swapped):
        raise UserError(f"The region “{rule.name}” is a control itself.", "Name a run on a region that was chosen.")
    controls: list[tuple[str, Region, int]] = [("all", All(), 0)]
    if type(rule) is Located:
        kept = {key: getattr(rule, key) for key in ("thresholds", "mu", "sigma", "published")}
        controls += [(f"random {draw}", Random(**kept, draw=draw), 0) for draw in range(DRAWS)]
        controls += [("complement", Complement(**kept), 0), ("scopes exchanged", Swapped(**kept), 0)]
    else:
        live, inside = _tensors(run)
        controls += [(f"random {draw}", Cells(_drawn(live, len(inside), draw)), 0) for draw in range(DRAWS)]
        controls.append(("complement", Cells(tuple(name for name in live if name not in inside)), 0))
    if isinstance(rule, MEASURED):
        controls.append(("other random answers", rule, 1))
    return controls


def _tensors(run: Run) -> tuple[list[str], set[str]]:
    table, region = run.table("localization"), run.json("region.json")
    if table is None or not isinstance(region, dict):
        raise UserError(f"The run {run.id} has no region that can be read.", "It is damaged: start it again.")
    live = table.loc[table["has_gradient"], "name"].tolist()
    inside = set(region["tensors"])
    if inside >= set(live):
        raise UserError("This region holds every tensor.", "There is nothing to compare it with.")
    return live, inside


def _drawn(live: Sequence[str], count: int, draw: int) -> tuple[str, ...]:
    chosen = set(random.Random(draw).sample(live, count))
    return tuple(name for name in live if name in chosen)


def find(run: Run, folder: Path) -> Sweep | None:
    """Return the latest controls of a run, None where there are none."""
    matches = (
        s for s in sweep_.list_sweeps(folder) if s.kind == "controls" and s.record().get("asked", {}).get("run") == run.id
    )
    return next(matches, None)


def read(run: Run, folder: Path) -> Controls | None:
    """Return what the latest controls of a run say, as far as they are finished; None where there are none."""
    sweep = find(run, folder)
    return None if sweep is None else result(sweep)


def result(sweep: Sweep) -> Controls:
    """Return what a sweep of controls says, as far as it is finished."""
    entries, state = sweep.entries(), str(sweep_.state(sweep)["state"])
    rows = [
        {**row(entry), "control": entry.coordinates.get("control", ""), "interval": _interval(entry)} for entry in entries
    ]
    given = next((e for e in entries if e.role == "given"), None)
    others = [e for e in entries if str(e.coordinates.get("control", "")).startswith("random") and _done(e)]
    if given is None or not _done(given) or not others:
        return Controls(rows, "", None, None, sweep.id, state)
    try:
        difference = _difference(_key(given), tuple(_key(other) for other in others))
    except UserError as error:  # data without val, or a damaged run
        return Controls(rows, str(error), None, None, sweep.id, state)
    if len({taught for entry in (given, *others) if (taught := _taught(entry))}) > 1:
        return Controls(rows, APART, None, None, sweep.id, state)
    rule, broken = given.run.config().region.name, sum(bool(row(entry)["diverged"]) for entry in others)
    text = sentence(rule, difference, len(others), broken)
    return Controls(rows, text, difference.value, (difference.low, difference.high), sweep.id, state)


APART = (
    "The run was made from another taught model than its controls (other number format, machine or number of processes), so "
    "their difference is not that of the regions alone: start the run again here, and make its controls."
)


def _taught(entry: Entry) -> str:
    """Return what tells the model that a run began with from others; empty where its manifest does not say."""
    manifest = entry.run.json("manifest.json")
    node: Any = manifest if isinstance(manifest, dict) else {}
    # On a merged base "before" is a fresh adapter, the same whatever was taught.
    keys = ("stages", "teach", "key") if entry.run.config().teach.merge else ("adapters", "before")
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return node if isinstance(node, str) else ""


def sentence(region: str, difference: Mean, draws: int, diverged: int = 0) -> str:
    """Say whether a region beats random ones: it does where the whole interval lies above nothing. One draw cannot say.

    diverged: how many of the random ones broke off. That they lost says nothing about where a region lies.
    """
    points = f"{difference.value:.1f}".replace("-", "−") + f" ± {difference.half:.1f}"
    if draws == 1:
        gap = f"{points} points of average success over questions"
        return f"One random region of as many tensors is there (difference {gap}): that says nothing about others."
    random_ones = f"{draws} random regions of as many tensors"
    if diverged:
        many = "one" if diverged == 1 else str(diverged)
        return (
            f"On this data the {region} region differs from {random_ones} by {points} points of average success, "
            f"but {many} of "
            "these diverged with its settings: nothing can be said of the regions."
        )
    if difference.low > 0:
        return f"On this data the {region} region beats {random_ones} by {points} points of average success."
    return f"On this data the {region} region does not beat {random_ones} (difference {points})."


def _done(entry: Entry) -> bool:
    return entry.run.status().get("state") == "done"


def _interval(entry: Entry) -> list[float] | None:
    if not _done(entry):
        return None
    mean = _average(_key(entry))
    return None if mean is None else [mean.value, mean.low, mean.high]


def _key(entry: Entry) -> tuple[str, int]:
    path = entry.run.path / "tokens.parquet"
    return str(path), path.stat().st_mtime_ns if path.exists() else 0


def _tokens(key: tuple[str, int]) -> pd.DataFrame | None:
    return Run(Path(key[0]).parent).table("tokens")


@functools.lru_cache(maxsize=1024)
def _average(key: tuple[str, int]) -> Mean | None:
    tokens = _tokens(key)
    try:
        return None if tokens is None else paired.average(tokens, SPLIT)
    except UserError:  # data without val: there is no such number, and the row says so by having none
        return None


@functools.lru_cache(maxsize=256)
def _difference(given: tuple[str, int], others: tuple[tuple[str, int], ...]) -> Mean:
    tables = [_tokens(key) for key in (given, *others)]
    if any(table is None for table in tables):
        raise UserError("A run of these controls has no token scores.", "It is damaged: start it again.")
    return paired.difference(tables[0], tables[1:], SPLIT)  # type: ignore[arg-type]
