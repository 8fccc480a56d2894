"""The runs of a sweep, one after the other on one loaded model. Imports torch: only a worker does so.

Where a sweep gives its trials seconds, these become steps: how many updates a method makes on a region in that time is
measured once for each such pair, on the very model, data and settings that the trials use. A run then has a number of steps,
never a time, so that it stays repeatable to the bit wherever it is made again.
"""

from __future__ import annotations

import dataclasses
import shutil
import statistics
from collections.abc import Sequence
from typing import Any

from core.config.run_config import RunConfig
from core.data.corpus import Example
from core.jobs import queue, unlearning_series
from core.jobs.status_log import Log
from core.jobs.sweep import Sweep
from core.jobs.sweep_worker import readable
from core.jobs.tuning import CHECKS, pair
from core.jobs.worker import queue_folder, reporting
from core.models.likelihood import score
from core.models.model_cache import ModelCache
from core.pipeline.pipeline import UNLEARN, execute, stages
from core.pipeline.setup import set_up
from core.pipeline.stage import perform
from core.pipeline.state import State
from core.plan.timing import TIMED, Stopwatch, mean_tokens
from core.runs.store import Run
from core.serve import client
from core.util import access, failure_sentences, files
from core.util.errors import UserError
from core.util.progress import Reporter, forget_peak_memory


def until_others_wait(sweep: Sweep, log: Log, waiting: list[Run], total: int) -> None:
    """Execute and take away run after run, until none is left or somebody else waits for the device."""
    cache = ModelCache()
    while waiting:
        log.check()
        run = waiting.pop(0)
        log.write(now=run.id, runs={"ended": total - len(waiting) - 1, "total": total})
        _execute_one(sweep, run, cache)
        config = readable(run)
        if config and queue.others_wait(queue_folder(config), access.owner()):
            cache.clear()  # the memory is the other one's
            return


def _execute_one(sweep: Sweep, run: Run, cache: ModelCache) -> None:
    """Execute one run of a sweep; what goes wrong stays in its own status."""

    def go(log: Log) -> None:
        log.check()
        log.begin()
        if sweep.kind == "tune":
            settle(sweep, run, cache, log)
        state = set_up(run, run.config(), sweep.folder, log, cache=cache, make_room=client.leave)
        execute(state)
        if sweep.kind == "requests":
            _asked_again(sweep, run, state)

    forget_peak_memory()
    # After anything but a good end the model may be in the middle of something: the next run loads it anew.
    if reporting(run, go, within=sweep.as_run) == 0:
        cache.tidy()
    else:
        cache.clear()


def _asked_again(sweep: Sweep, run: Run, state: State) -> None:
    """Ask every subject's questions after a request, and the taught and the never-taught model with the first one."""
    entry = next(candidate for candidate in sweep.entries() if candidate.run == run)
    asked: dict[str, str | None] = {str(entry.coordinates["subject"]): "after"}
    if not run.config().teach.from_run:
        asked = {unlearning_series.TAUGHT: "before", **({unlearning_series.NEVER: None} if state.has_never else {}), **asked}
    record = unlearning_series.read(sweep)
    for name, adapter in asked.items():
        record["states"] = [earlier for earlier in record["states"] if earlier["state"] != name]
        record["states"].append({"state": name, "run": run.id, **_accuracy(state, adapter)})
    files.write_json(sweep.path / "requests.json", record)


def _accuracy(state: State, adapter: str | None) -> dict[str, Any]:
    """Return {"unlearn": {subject: {split: %}}, "retention": {split: %}}."""
    examples, adapters = state.whole.examples, state.adapters
    encoded = state.voices.encode(examples)
    with adapters.active(adapter) as model:
        scored = score(model, encoded, size=state.config.evaluate.batch_size)
        right = {name: 100 * answer.accuracy for name, answer in scored}
    forget = [e for e in examples if e.scope == "unlearn"]
    return {
        "unlearn": {s: _means([e for e in forget if e.subject == s], right) for s in sorted({e.subject for e in forget})},
        "retention": _means([e for e in examples if e.scope == "retention"], right),
    }


def _means(examples: Sequence[Example], right: dict[str, float]) -> dict[str, float]:
    groups = {split: [right[e.id] for e in examples if e.split == split] for split in ("train", "val")}
    return {split: sum(values) / len(values) for split, values in groups.items() if values}


# -- seconds -> steps --------------------------------------------------------------------------------------------------


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
