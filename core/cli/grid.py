"""Lists of methods, regions, seeds and settings -> the configurations of a sweep: every combination once.

Everything that many runs share (model, data, teaching, gradients) varies slowest, so that one worker makes it once.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, get_origin, get_type_hints

from core.config.run_config import RunConfig, with_method
from core.methods import Method
from core.regions import REGIONS, parse
from core.util.errors import UserError

SLOW = ("model", "data", "seed", "teach", "preflight", "localize")
"""stages whose settings are shared by most runs"""
OWN = ("region", "unlearn")
"""stages of which a setting may belong to some methods or regions only: the others then have one run less"""


def methods(text: str) -> list[str]:
    """Split `memflex,gradient-ascent`."""
    return [part.strip() for part in text.split(",") if part.strip()]


def regions(text: str) -> list[str]:
    """Split `located,layers:4-9,modules:q_proj,v_proj`: a part that is no rule belongs to the list before it."""
    rules: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        lists = rules and rules[-1].partition(":")[0] in ("modules", "cells") and ":" in rules[-1]
        if lists and part.partition(":")[0] not in REGIONS:
            rules[-1] += f",{part}"
        elif part:
            rules.append(part)
    return rules


def seeds(text: str) -> list[int]:
    """Split `0,1,2`. Raises UserError for anything else."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UserError(f"“{text}” is no list of seeds.", "Write it as --seeds 0,1,2.") from None


def settings(given: Sequence[str], base: RunConfig) -> dict[str, list[Any]]:
    """Read --set options: path -> its values; of a setting that is given twice the last counts, as everywhere.

    `unlearn.steps=20,40` has two values. In a setting that is a list itself they are separated by semicolons:
    `data.subjects=A,B;C`.
    """
    lists: dict[str, list[Any]] = {}
    for text in given:
        path, separator, value = text.partition("=")
        path, value = path.strip(), value.strip()
        if not separator:
            raise UserError(f"“{text}” is not a setting.", "Write it as --set stage.key=value.")
        lists[path] = [part.strip() for part in value.split(";" if _is_list(path, base) else ",")]
    return lists


def _is_list(path: str, base: RunConfig) -> bool:
    """Say whether a setting holds several values itself."""
    head, _, rest = path.partition(".")
    owners: list[Any] = [getattr(base, head, None)]
    if head == "region":
        owners += [kind() for kind in REGIONS.values()]
    for owner in owners:
        if dataclasses.is_dataclass(owner) and not isinstance(owner, type):
            if get_origin(get_type_hints(type(owner)).get(rest)) is tuple:
                return True
    return False


@dataclasses.dataclass(frozen=True)
class Axes:
    """What a sweep varies; an empty list leaves the common configuration as it is."""

    methods: Sequence[str | Method] = ()
    regions: Sequence[str] = ()
    seeds: Sequence[int] = ()
    subsets: Sequence[str] = ()
    settings: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)


def expand(base: RunConfig, axes: Axes) -> list[tuple[RunConfig, dict[str, Any]]]:
    """Return (configuration, coordinates) of every combination, without repetition.

    Raises UserError for unknown names and for a setting that none of the methods and regions has.
    """
    lists: dict[str, Sequence[Any]] = {
        "data.subset": axes.subsets,
        "seed": axes.seeds,
        "region": axes.regions,
        "unlearn.method": axes.methods,
    }
    chosen = {path: values for path, values in {**lists, **axes.settings}.items() if values}
    order = sorted(chosen, key=_position)
    runs: dict[str, tuple[RunConfig, dict[str, Any]]] = {}
    refused: dict[str, UserError] = {}
    applied: set[str] = set()
    for combination in itertools.product(*(chosen[path] for path in order)):
        config, used = base, dict[str, Any]()
        # Method and region first: other settings may belong to them. A method may bring a region of its own.
        turns = sorted(zip(order, combination, strict=True), key=lambda pair: (pair[0] not in lists, pair[0] == "region"))
        for path, value in turns:
            try:
                config = _changed(config, path, value)
                used[path] = value
            except UserError as error:
                if path in lists or path.partition(".")[0] not in OWN or not error.what.startswith("There is no setting"):
                    raise
                refused[path] = error
        applied |= set(used)
        shown = {path: value for path, value in used.items() if len(chosen[path]) > 1 or path == "region"}
        runs.setdefault(json.dumps(config.to_json(), sort_keys=True), (config, _coordinates(config, shown)))
    for path, why in refused.items():
        if path not in applied:
            raise why
    return list(runs.values())


def _changed(config: RunConfig, path: str, value: Any) -> RunConfig:
    if path == "region":
        return dataclasses.replace(config, region=parse(value, config.region))
    if path == "unlearn.method":
        return with_method(config, value)
    return config.with_setting(path, value)


def _position(path: str) -> tuple[int, int]:
    """Sort settings: slowest first."""
    head = path.partition(".")[0]
    return (0, SLOW.index(head)) if head in SLOW else (1, 0 if head == "region" else 1)


def _coordinates(config: RunConfig, varied: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells a run from its neighbours, with the method, region and seed in any case."""
    region = str(varied.get("region", config.region.name))
    named: dict[str, Any] = {"method": config.unlearn.method.label, "region": region, "seed": config.seed}
    if "data.subset" in varied:
        named["subset"] = config.data.subset
    rest = {p: v for p, v in varied.items() if p not in ("region", "unlearn.method", "seed", "data.subset")}
    return {**named, **{path: _number(value) for path, value in rest.items()}}


def _number(text: Any) -> Any:
    try:
        return float(text)
    except (TypeError, ValueError):
        return text
