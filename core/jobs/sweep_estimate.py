"""How long a sweep will take: from the recorded seconds of earlier runs, else from a few real steps of one of its runs.

What many runs share (teaching, preflight, gradients) counts once for each seed and data that have not been through it. No
torch.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.data import sources
from core.jobs import estimate, lifecycle
from core.runs import store
from core.runs.store import COMPARED, Run
from core.util.errors import UserError
from core.util.progress import duration
from core.util.safe_read import mapping, number

SHARED, OWN = ("teach", "preflight", "localize", "retrain", "reference"), ("answers", "evaluate")
LOOKED_AT = 60
"""earlier runs that are counted on, newest first"""
SLACK = 0.25
"""How far off one expects to be: other programs, longer answers, runs that stop early."""


@dataclass(frozen=True)
class SweepEstimate:
    """What a sweep will take."""

    seconds: float
    how: str
    """what it was worked out from"""

    def __str__(self) -> str:
        """Say it in one line."""
        low, high = self.seconds * (1 - SLACK), self.seconds * (1 + SLACK)
        return f"About {duration(low)} to {duration(high)} ({self.how})."


@dataclass(frozen=True)
class _Earlier:
    """What one finished run tells."""

    config: RunConfig
    stages: dict[str, float]
    """stage -> seconds, where it was computed"""
    step: float | None
    """seconds per step of unlearning, measurements included"""


def from_runs(configs: Sequence[RunConfig], folder: Path, seconds: float | None = None) -> SweepEstimate | None:
    """Work it out from finished runs of the same model and data; None where they do not tell enough.

    seconds: of unlearning a run, where the sweep gives a time instead of steps.
    """
    parts: dict[tuple[Any, ...], list[RunConfig]] = {}
    for config in configs:
        parts.setdefault((config.model, _data(config), config.evaluate), []).append(config)
    estimates = [_of_alike(part, folder, seconds) for part in parts.values()]
    if any(part is None for part in estimates):
        return None
    total, count = map(sum, zip(*filter(None, estimates), strict=True))
    runs = "one earlier run" if count == 1 else f"{count} earlier runs"
    return SweepEstimate(total, f"from the seconds of {runs} on this model and data")


def expected(configs: Sequence[RunConfig], folder: Path, seconds: float | None = None) -> float | None:
    """Return the seconds of `from_runs` alone; None also for no runs."""
    estimate = from_runs(configs, folder, seconds) if configs else None
    return estimate.seconds if estimate else None


def _of_alike(configs: Sequence[RunConfig], folder: Path, seconds: float | None) -> tuple[float, int] | None:
    """Return the seconds of runs of one model and data, and how many earlier runs tell them."""
    read = (_read(run, configs[0]) for run in store.list_runs(folder))
    earlier = list(itertools.islice(filter(None, read), LOOKED_AT))
    own = [sum(run.stages[name] for name in OWN) for run in earlier if set(OWN) <= set(run.stages)]
    shared = {name: [run.stages[name] for run in earlier if name in run.stages] for name in SHARED}
    groups, seen = {_group(config) for config in configs}, {_group(run.config) for run in earlier}
    if not own or (groups - seen and not all(shared[name] for name in SHARED if name not in COMPARED)):
        return None
    total = len(groups - seen) * sum(statistics.median(values) for values in shared.values() if values)
    for config in configs:
        steps = [run for run in earlier if run.step]
        alike = [run for run in steps if run.config.unlearn.method.name == config.unlearn.method.name] or steps
        if not alike and seconds is None:
            return None
        unlearning = seconds or config.unlearn.steps * statistics.median(run.step or 0.0 for run in alike)
        total += unlearning + statistics.median(own)
    return total, len(earlier)


def _read(run: Run, like: RunConfig) -> _Earlier | None:
    """Return what a run tells, None for one that is unfinished, unreadable, or of another model, other data or other
    scores.
    """
    if run.status().get("state") != "done":
        return None
    try:
        config = run.config()
    except (UserError, RecursionError):
        return None
    if (config.model, _data(config), config.evaluate) != (like.model, _data(like), like.evaluate):
        return None
    stages = mapping(run.json("manifest.json"), "stages")
    times = {
        name: number(mapping(stage).get("seconds")) for name, stage in stages.items() if not mapping(stage).get("reused")
    }
    stage_seconds = {name: seconds for name, seconds in times.items() if seconds is not None}
    steps = number(mapping(run.json("unlearn.json")).get("steps"))
    step = stage_seconds["unlearn"] / steps if "unlearn" in stage_seconds and steps else None
    return _Earlier(config, stage_seconds, step)


def _data(config: RunConfig) -> tuple[Any, ...]:
    d = config.data
    return d.source, d.subset, d.subjects


def _group(config: RunConfig) -> str:
    """Return what decides whether two runs share teaching, preflight and gradients."""
    parts = [asdict(part) for part in (config.model, config.data, config.teach, config.localize, config.answers)]
    return json.dumps([config.seed, parts], sort_keys=True)


Look = Callable[[Run, dict[str, Any]], None]
"""called with the folder of a measurement and its status, time and again"""


def measured(
    configs: Sequence[RunConfig], folder: Path, seconds: float | None = None, look: Look = lambda job_folder, status: None
) -> SweepEstimate | None:
    """Measure a few steps of the last run in a process of its own, and wait for it; None where that fails.

    The last, since of several seeds the first is the likeliest to be taught already, which would then cost nothing for all.
    """
    try:
        figures = steps_of(configs[-1], folder, look)
    except UserError:  # its own data may be what is wrong; the worker will say so, of this run alone
        return None
    costs = {cost["name"]: (cost["low"] + cost["high"]) / 2 for cost in figures["stages"]}
    groups = len({_group(config) for config in configs})
    step = costs["unlearn"] / configs[-1].unlearn.steps
    unlearning = sum(config.unlearn.steps * step if seconds is None else seconds for config in configs)
    total = (
        costs["load"]
        + groups * sum(costs.get(name, 0.0) for name in SHARED)
        + len(configs) * sum(costs[name] for name in OWN)
    )
    methods = len({config.unlearn.method.name for config in configs})
    source = "from a few measured steps of one of its runs"
    return SweepEstimate(total + unlearning, source if methods == 1 else f"{source}; steps of other methods may take longer")


def steps_of(config: RunConfig, folder: Path, look: Look = lambda job_folder, status: None) -> dict[str, Any]:
    """Measure a few steps of a run in a process of its own, unless that was done before. Raises UserError where it fails."""
    job_folder = estimate.job_folder(config, folder, sources.load(config.data, config.seed).fingerprint())
    if estimate.result(job_folder) is None:
        estimate.start(job_folder, config)
        try:
            for _ in lifecycle.follow(job_folder, 0.2, partial(look, job_folder)):
                pass
        except KeyboardInterrupt:
            job_folder.cancel()
            raise
        lifecycle.reap()  # one that was killed would otherwise keep its place in the queue, as a zombie
    if (figures := estimate.result(job_folder)) is None:
        status = job_folder.status()
        raise UserError(str(status.get("error") or "Nothing was measured."), str(status.get("fix") or ""))
    return figures
