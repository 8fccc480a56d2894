"""The runs of a sweep, one after the other on one loaded model. Imports torch: only a worker does so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.data.corpus import Example
from core.jobs import calibrate, queue, unlearning_series
from core.jobs.status_log import Log
from core.jobs.sweep import Sweep
from core.jobs.sweep_worker import readable
from core.jobs.worker import queue_folder, reporting
from core.models.likelihood import score
from core.models.model_cache import ModelCache
from core.pipeline.pipeline import execute
from core.pipeline.setup import set_up
from core.pipeline.state import State
from core.runs.store import Run
from core.serve import client
from core.util import access, files
from core.util.progress import forget_peak_memory


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
            calibrate.settle(sweep, run, cache, log)
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
