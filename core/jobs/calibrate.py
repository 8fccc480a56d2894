"""Seconds -> steps: how many updates a method makes on a region in a given time, measured once for each such pair.

The run then gets a number of steps, never a time, so that it stays repeatable to the bit wherever it is made again. Runs in
the worker, on the very model, data and settings that the trials use.
"""

from __future__ import annotations

import dataclasses
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.jobs.sweep import Sweep
from core.jobs.tuning import CHECKS, pair
from core.models.model_cache import ModelCache
from core.pipeline.pipeline import Pipeline
from core.plan.timing import TIMED, Stopwatch, mean_tokens
from core.runs.store import Run
from core.util import failures, files
from core.util.errors import UserError
from core.util.progress import Reporter


def settle(sweep: Sweep, run: Run, cache: ModelCache, report: Reporter) -> None:
    """Write into a trial's configuration how many steps its method makes in the sweep's seconds on its region.

    The first trial of each pair pays for the measurement. Raises UserError where not even these few steps succeed.
    """
    value = sweep.value()
    budget, known = value["asked"].get("seconds"), value.get("calibration", {})
    if budget is None:
        return
    entry = next(one for one in sweep.entries() if one.run == run)
    name, config = pair(entry.coordinates), run.config()
    if name not in known:
        report.event("finding", text=f"Measuring how long a step of {name} takes.")
        known = {**known, name: measure(config, sweep, cache, report)}
        sweep.update(calibration=known)
    count = steps(known[name], float(budget))
    changed = config.with_setting("unlearn.steps", count).with_setting("unlearn.check_every", max(1, -(-count // CHECKS)))
    files.write_json(run.path / "config.json", changed.to_json())


def steps(measured: dict[str, float], seconds: float) -> int:
    """Return the updates that fit into a time, after what the method does once before its first."""
    return max(1, int((seconds - measured["before"]) / measured["step"]))


def measure(config: RunConfig, sweep: Sweep, cache: ModelCache, report: Reporter) -> dict[str, float]:
    """Return {"step": seconds of a mean step, "before": seconds before the first one}."""
    scratch = Run(sweep.path / "calibration")
    shutil.rmtree(scratch.path, ignore_errors=True)
    try:
        scratch.path.mkdir()
        config.save(scratch.path / "config.json")
        return _Calibration(scratch, config, sweep.folder, report, cache).measure()
    except OSError as error:
        raise failures.disk_error(scratch.path, error) from error
    finally:
        shutil.rmtree(scratch.path, ignore_errors=True)


class _Watch(Stopwatch):
    """Notes when each step was done, and passes everything else on."""

    def progress(self, done: float, total: float, unit: str, **values: Any) -> None:
        if unit == "steps":
            super().progress(done, total, unit, **values)

    def stage(self, name: str, state: str, **values: Any) -> None:
        self.report.stage(name, state, **values)

    def event(self, kind: str, **values: Any) -> None:
        if kind not in ("checkpoint", "watch"):
            self.report.event(kind, **values)


class _Calibration(Pipeline):
    """The run's own stages up to a few updates, of which nothing is kept but their times."""

    def __init__(self, run: Run, config: RunConfig, folder: Path, report: Reporter, cache: ModelCache) -> None:
        few = dataclasses.replace(
            config.unlearn, steps=TIMED + 2, check_every=TIMED + 2, stop="never", retain_floor=0.0, watch=0
        )
        super().__init__(run, dataclasses.replace(config, unlearn=few), folder, report, cache)

    def measure(self) -> dict[str, float]:
        for name in ("teach", "preflight", "localize", "region"):
            self.report.stage(name, "running")
            getattr(self, f"_{name}")()
        first = self._timed()
        # What comes before the first step may be the method's own, or what only the first method of a process pays for
        # (caches, questions generated once). A second look tells them apart.
        again = self._timed() if first["before"] > first["step"] else first
        return {"step": min(first["step"], again["step"]), "before": min(first["before"], again["before"])}

    def _timed(self) -> dict[str, float]:
        outer, watch = self.report, _Watch(self.report)
        self.report = watch
        try:
            self._unlearn()
        except UserError:
            if not watch.seconds[1:]:  # a method that diverges this early was timed all the same
                raise
        finally:
            self.report = outer
        first, timed = watch.seconds[0], watch.seconds[1 : TIMED + 1]
        if not timed:  # a method that needs no steps
            return {"step": first, "before": 0.0}
        # A step's time goes with its tokens; three steps are too few to be of mean size.
        method = dataclasses.replace(self.config.unlearn, method=self.method)
        tokens = mean_tokens(self._supply(), method, self.config.seed)
        step = statistics.median(s / n for s, n in zip(timed, watch.tokens[1:], strict=False)) * tokens
        return {"step": step, "before": max(0.0, first - statistics.median(timed))}

    def _cached(self, stage: str, key: str, produce: Callable[[Path], None], *, together: bool = True) -> str:
        if stage != "unlearn":
            return super()._cached(stage, key, produce, together=together)
        place = self.run.path / "unlearn"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        produce(place)
        return ""
