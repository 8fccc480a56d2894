"""A sweep's runs as rows of scores, and rows of several seeds as means with intervals. Reads files only; no torch."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core.data.corpus import SPLITS
from core.jobs.sweep import Entry, Sweep
from core.metrics.intervals import t_interval
from core.runs import store
from core.runs.store import Run
from core.util.safe_read import mapping, stamp

SCORES = ("unlearn", "retention", "average", "never_knew", "degenerate", "fluency")
"""the scores of a row, each by split"""


def rows(sweep: Sweep, folder: Path | None = None) -> list[dict[str, Any]]:
    """Return a row a run: run, coordinates, role, state, error, what it took, and its scores.

    SCORES are {split: value}, `intervals` over examples {score: {split: [low, high]}}, `seconds` by stage; `steps` were
    made, of which `kept` is the result; `diverged` says that the loss went beyond all numbers and a checkpoint is the
    result.
    """
    return [row(entry, folder) for entry in sweep.entries()]


def row(entry: Entry, folder: Path | None = None) -> dict[str, Any]:
    """Return one run's row; what was not measured is an empty mapping or None."""
    run = Run(folder / entry.run.id) if folder else entry.run
    status = run.status()
    base = {
        "run": run.id,
        "coordinates": dict(entry.coordinates),
        "role": entry.role,
        "state": status.get("state"),
        "error": " ".join(filter(None, (status.get("error"), status.get("fix")))) if status.get("error") else "",
        "stage": status.get("stage", ""),
    }
    return base | json.loads(_scores(str(run.path), tuple(stamp(run.path / name) for name in FILES)))


FILES = ("metrics.json", "manifest.json", "unlearn.json")


@functools.lru_cache(maxsize=4096)
def _scores(path: str, stamps: tuple[tuple[int, int], ...]) -> str:
    """Return the scores of a run as JSON text: what is kept in memory must not be changed by who asked for it."""
    run = Run(Path(path))
    metrics = mapping(run.json("metrics.json"), "metrics")
    unlearned, manifest = mapping(run.json("unlearn.json")), mapping(run.json("manifest.json"))
    return json.dumps(
        scores(metrics)
        | {
            "steps": unlearned.get("steps"),
            "kept": unlearned.get("step"),
            "stopped": unlearned.get("stopped", ""),
            "diverged": str(unlearned.get("stopped", "")).startswith("diverged"),
            "unlearning": unlearned.get("seconds"),
            "seconds": {name: mapping(stage).get("seconds") for name, stage in mapping(manifest.get("stages")).items()},
            "intervals": intervals(metrics),
        }
    )


def scores(metrics: Mapping[str, Any], voice: str = "after") -> dict[str, dict[str, float]]:
    """Return SCORES by split from the metrics of a run; `fluency` is there where that metric is."""

    def of(metric: str) -> dict[str, Any]:
        return mapping(metrics, metric, "values", voice)

    accuracy, knew, found = of("accuracy"), of("never_knew"), {name: dict[str, float]() for name in SCORES}
    for split in SPLITS:
        wrong, right = accuracy.get(f"unlearn/{split}"), accuracy.get(f"retention/{split}")
        put(found["unlearn"], split, None if wrong is None else 100 - wrong)
        put(found["retention"], split, right)
        put(found["average"], split, None if wrong is None or right is None else (100 - wrong + right) / 2)
        put(found["never_knew"], split, knew.get(split))
        for name in ("degenerate", "fluency"):
            put(found[name], split, of(name).get(f"unlearn/{split}"))
    return found


def put(into: dict[str, float], key: str, value: Any) -> None:
    """Enter a number, unless there is none."""
    if isinstance(value, int | float) and math.isfinite(value):
        into[key] = float(value)


def intervals(metrics: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Return score -> split -> [low, high] over examples, as far as metrics.json holds them; the average has none there."""

    def of(metric: str) -> dict[str, Any]:
        return mapping(metrics, metric, "intervals", "after")

    found: dict[str, dict[str, list[float]]] = {name: {} for name in SCORES}
    places = {"retention": ("accuracy", "retention/"), "never_knew": ("never_knew", "")}
    places |= {name: (name, "unlearn/") for name in ("degenerate", "fluency")}
    for split in SPLITS:
        for name, (metric, scope) in places.items():
            if f"{scope}{split}" in of(metric):
                found[name][split] = of(metric)[f"{scope}{split}"]
        if f"unlearn/{split}" in of("accuracy"):
            low, high = of("accuracy")[f"unlearn/{split}"]
            found["unlearn"][split] = [100 - high, 100 - low]
    return {name: of_split for name, of_split in found.items() if of_split}


def overhead(sweep: Sweep) -> dict[str, float] | None:
    """Return {"wall", "work", "shared", "percent"} of a sweep that has ended, None before.

    In seconds since its worker began: all in all; unlearning, answers and evaluation of its runs; what they share (teaching,
    preflight, gradients), where it was made. percent: all the rest (loading, files, bookkeeping) against the work.
    """
    status = sweep.place.status()
    if not status.get("began") or not status.get("ended"):
        return None
    work = shared = 0.0
    for entry in sweep.entries():
        if (entry.run.status().get("began") or 0.0) < status["began"]:
            continue  # done before the sweep was resumed, or not by it
        for name, stage in mapping(entry.run.status().get("stages")).items():
            seconds = float(mapping(stage).get("seconds") or 0.0)
            work += seconds if name in store.OWN else 0.0
            shared += seconds if name not in store.OWN and stage.get("state") == "done" else 0.0
    wall = float(status["ended"]) - float(status["began"])
    return {"wall": wall, "work": work, "shared": shared, "percent": 100 * (wall - work - shared) / work if work else 0.0}


def over_seeds(found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Group rows that differ in their seed alone: coordinates, count, failed, and each score by split as (mean, ±).

    The interval is over seeds. Where there is one seed there is none: see `intervals` of its row for that over examples.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for one in found:
        kept = {key: value for key, value in one["coordinates"].items() if key != "seed"}
        groups.setdefault(json.dumps([one["role"], kept], sort_keys=True), []).append(one)
    result = []
    for key, group in groups.items():
        role, coordinates = json.loads(key)
        done = [one for one in group if one["state"] == "done"]
        summary: dict[str, Any] = {
            "role": role,
            "coordinates": coordinates,
            "count": len(done),
            "failed": len(group) - len(done),
            "runs": [one["run"] for one in group],
            "diverged": sum(bool(one.get("diverged")) for one in group),
        }
        for name in SCORES:
            splits = {split for one in done for split in one[name]}
            summary[name] = {
                split: t_interval([one[name][split] for one in done if split in one[name]])
                for split in SPLITS
                if split in splits
            }
        if len(done) == 1:
            summary["intervals"] = done[0]["intervals"]
        result.append(summary)
    return result
