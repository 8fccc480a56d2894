"""Seconds -> steps: how many updates a method makes on a region in a given time, measured once for each such pair.

The run then gets a number of steps, never a time, so that it stays repeatable to the bit wherever it is made again. Runs in
the worker, on the very model, data and settings that the trials use.
"""

from __future__ import annotations

import dataclasses
import shutil
import statistics
from typing import Any

from core.config.run_config import RunConfig
from core.jobs.sweep import Sweep
from core.jobs.tuning import CHECKS, pair
from core.models.model_cache import ModelCache
from core.pipeline.pipeline import UNLEARN, stages
from core.pipeline.setup import set_up
from core.pipeline.stage import perform
from core.pipeline.state import State
from core.plan.timing import TIMED, Stopwatch, mean_tokens
from core.runs.store import Run
from core.serve import client
from core.util import failure_sentences, files
from core.util.errors import UserError
from core.util.progress import Reporter


def settle(sweep: Sweep, run: Run, cache: ModelCache, report: Reporter) -> None:
    """Write into a trial's configuration how many steps its method makes in the sweep's seconds on its region.

    The first trial of each pair pays for the measurement. Raises UserError where not even these few steps succeed.
    """
    record = sweep.record()
    budget, times = record["asked"].get("seconds"), record.get("calibration", {})
    if budget is None:
        return
    entry = next(candidate for candidate in sweep.entries() if candidate.run == run)
    name, config = pair(entry.coordinates), run.config()
    if name not in times:
        report.event("finding", text=f"Measuring how long a step of {name} takes.")
        times = {**times, name: measure(config, sweep, cache, report)}
        sweep.update(calibration=times)
    count = steps(times[name], float(budget))
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
        few = dataclasses.replace(
            config.unlearn, steps=TIMED + 2, check_every=TIMED + 2, stop="never", retain_floor=0.0, watch=0
        )
        short = dataclasses.replace(config, unlearn=few)
        return _measured(set_up(scratch, short, sweep.folder, report, cache=cache, make_room=client.leave))
    except OSError as error:
        raise failure_sentences.disk_error(scratch.path, error) from error
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


def _measured(state: State) -> dict[str, float]:
    """Do the run's own stages up to a few updates, of which nothing is kept but their times."""
    for stage in stages(state):
        if stage is UNLEARN:
            break
        state.report.stage(stage.name, "running")
        perform(stage, state)
    first = _timed(state)
    # What comes before the first step may be the method's own, or what only the first method of a process pays for
    # (caches, questions generated once). A second look tells them apart.
    again = _timed(state) if first["before"] > first["step"] else first
    return {"step": min(first["step"], again["step"]), "before": min(first["before"], again["before"])}


def _timed(state: State) -> dict[str, float]:
    """Unlearn past the cache; return the seconds of a mean step, and of what comes before the first one."""
    outer, watch = state.report, _Watch(state.report)
    state.report = watch
    folder = state.run.path / "unlearn"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        UNLEARN.prepare(state)
        UNLEARN.work(state, folder)
    except UserError:
        if not watch.seconds[1:]:  # a method that diverges this early was timed all the same
            raise
    finally:
        state.report = outer
    first, timed = watch.seconds[0], watch.seconds[1 : TIMED + 1]
    if not timed:  # a method that needs no steps
        return {"step": first, "before": 0.0}
    # A step's time goes with its tokens; three steps are too few to be of mean size.
    method = dataclasses.replace(state.config.unlearn, method=state.method)
    tokens = mean_tokens(state.supply, method, state.config.seed)
    step = statistics.median(s / n for s, n in zip(timed, watch.tokens[1:], strict=False)) * tokens
    return {"step": step, "before": max(0.0, first - statistics.median(timed))}
