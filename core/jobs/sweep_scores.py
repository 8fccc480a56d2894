"""A sweep's runs as rows of scores, and rows of several seeds as means with intervals. Reads files only; no torch."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core.data.corpus import SPLITS
from core.jobs.sweep import Entry, Sweep
from core.metrics.intervals import t_interval
from core.runs import asked, scores, store
from core.runs.scores import Scores, Value
from core.runs.store import Run
from core.util.safe_read import mapping, stamp

SAID = {"u_leaked": "unlearn/{}/leaked", "u_noise": "unlearn/{}/noise", "r_kept": "retention/{}/kept"}
"""what generated answers say that a row tells -> its part of the metric, of a kind of question"""
SCORES = (*SAID, "balance", "unlearn", "retention", "average", "never_knew", "degenerate")
"""the scores of a row, those of SAID and what runs are sorted by (`core.runs.asked.balance`) by kind, the others by split"""
ORDER = tuple(dict.fromkeys((*asked.KIND_NAMES, *SPLITS)))
"""kinds and splits, the one that says the most first"""
FILES = (scores.FILE, "manifest.json", "unlearn.json")
"""what a row depends on"""


def rows(sweep: Sweep, folder: Path | None = None) -> list[dict[str, Any]]:
    """Return a row a run: run, coordinates, role, state, error, what it took, and its scores.

    SCORES are {split: value}, `intervals` over examples {score: {split: [low, high]}}, `seconds` by stage; `n` says of how
    many questions those of SAID are, {score: {kind: n}}; `steps` were made, of which `kept` is the result;
    `diverged` says that the loss went beyond all numbers and a checkpoint is the result.
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


@functools.lru_cache(maxsize=4096)
def _scores(path: str, stamps: tuple[tuple[int, int], ...]) -> str:
    """Return the scores of a run as JSON text: what is kept in memory must not be changed by who asked for it."""
    run = Run(Path(path))
    measured = Scores.read_once(run)
    unlearned, manifest = mapping(run.json("unlearn.json")), mapping(run.json("manifest.json"))
    return json.dumps(
        by_split(measured)
        | {
            "steps": unlearned.get("steps"),
            "kept": unlearned.get("step"),
            "stopped": unlearned.get("stopped", ""),
            "diverged": str(unlearned.get("stopped", "")).startswith("diverged"),
            "unlearning": unlearned.get("seconds"),
            "seconds": {name: mapping(stage).get("seconds") for name, stage in mapping(manifest.get("stages")).items()},
            "intervals": intervals(measured),
            "n": {name: {kind: s.n for kind, s in _measured(measured)[name].items()} for name in SAID},
        }
    )


def by_split(measured: Scores) -> dict[str, dict[str, float]]:
    """Return score -> split -> value after unlearning; of a metric that was not computed, no split."""
    return {
        name: {split: score.value for split, score in splits.items() if score.value is not None}
        for name, splits in _measured(measured).items()
    }


def intervals(measured: Scores) -> dict[str, dict[str, list[float]]]:
    """Return score -> split -> [low, high] over examples, where they were computed; the average has none there."""
    bounds = {
        name: {split: [s.low, s.high] for split, s in splits.items() if s.low is not None and s.high is not None}
        for name, splits in _measured(measured).items()
        if name != "average"
    }
    return {name: ends for name, ends in bounds.items() if ends}


def _measured(measured: Scores) -> dict[str, dict[str, Value]]:
    """Return each of SCORES by split."""
    table: dict[str, dict[str, Value]] = {name: {} for name in SCORES}
    for kind in asked.kinds(measured):
        for name, part in SAID.items():
            table[name][kind] = measured.value(asked.METRIC, "after", part.format(kind))
        table["balance"][kind] = Value(asked.balance(*(table[name][kind].value or 0.0 for name in SAID)))
    for split in SPLITS:
        table["unlearn"][split] = measured.success("after", "unlearn", split)
        table["retention"][split] = measured.success("after", "retention", split)
        table["average"][split] = measured.average("after", split)
        table["never_knew"][split] = measured.value("never_knew", "after", split)
        table["degenerate"][split] = measured.value("degenerate", "after", f"unlearn/{split}")
    return table


def overhead(sweep: Sweep) -> dict[str, float] | None:
    """Return {"wall", "work", "shared", "percent"} of a sweep that has ended, None before.

    In seconds since its worker began: all in all; unlearning, answers and evaluation of its runs; what they share (teaching,
    preflight, gradients), where it was made. percent: all the rest (loading, files, bookkeeping) against the work.
    """
    status = sweep.as_run.status()
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


def first(by_split: Mapping[str, Any]) -> Any:
    """Return what is of the kind of question, or the split, that says the most; None where there is none."""
    return next((by_split[name] for name in ORDER if name in by_split), None)


def said(record: Mapping[str, Any], name: str) -> str | None:
    """Return one of SAID as "7 of 20", of the kind of question that says the most; None where it was not counted."""
    kind = next((kind for kind in ORDER if kind in record[name]), "")
    return asked.in_words(record[name][kind], record["n"][name][kind]) if kind else None


def over_seeds(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Group rows that differ in their seed alone: coordinates, count, failed, and each score by split as (mean, ±).

    The interval is over seeds. Where there is one seed there is none: see `intervals` of its row for that over examples.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        kept = {key: value for key, value in record["coordinates"].items() if key != "seed"}
        groups.setdefault(json.dumps([record["role"], kept], sort_keys=True), []).append(record)
    result = []
    for key, group in groups.items():
        role, coordinates = json.loads(key)
        done = [record for record in group if record["state"] == "done"]
        summary: dict[str, Any] = {
            "role": role,
            "coordinates": coordinates,
            "count": len(done),
            "failed": len(group) - len(done),
            "runs": [record["run"] for record in group],
            "diverged": sum(bool(record.get("diverged")) for record in group),
        }
        for name in SCORES:
            splits = {split for record in done for split in record[name]}
            summary[name] = {
                split: t_interval([record[name][split] for record in done if split in record[name]])
                for split in ORDER
                if split in splits
            }
        if len(done) == 1:
            summary |= {"intervals": done[0]["intervals"], "n": done[0]["n"]}
        result.append(summary)
    return result
