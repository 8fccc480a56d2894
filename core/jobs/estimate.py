"""What would this run cost, and does it fit? A process that measures it, and the client that pages use.

`start` launches `python -m core.jobs.estimate FOLDER`, which waits for the device like a worker, makes a few real steps of
every stage (core/plan/measure.py) and writes plan.json. Its folder is laid out like a run's (config.json, status.json,
cancel), so it is followed, cancelled and found dead in the same way. The same configuration on the same data is measured
once. Importing this file costs no heavy library. In a shell: `python -m core.jobs.estimate CONFIG.json [--json]`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from core.config import run_config as config_
from core.config.run_config import RunConfig
from core.jobs import lifecycle, limits
from core.jobs.status_log import Log
from core.jobs.worker import reporting, turn
from core.runs import locks, stage_files, store
from core.runs.store import Run
from core.serve import client
from core.util import files, logs, process
from core.util.errors import UserError
from core.util.progress import now

STEPS = {
    "known": "what the model knows already",
    "forward": "scoring of answers",
    "teaching": "two teaching steps",
    "talking": "generation of answers",
    "localizing": "gradients of one batch",
    "unlearning": "a few unlearning steps",
}
"""name of a measurement in status.json -> what it is, in words"""


# -- the client ---------------------------------------------------------------------------------------------------------


def place(config: RunConfig, folder: Path, data: str = "") -> Run:
    """Return where the plan of a configuration lies (whether or not it exists); `data` identifies the examples."""
    values = {key: value for key, value in config.to_json().items() if key not in ("name", "preset")}
    text = json.dumps([values, data], sort_keys=True)
    return Run(folder / ".plans" / hashlib.sha256(text.encode()).hexdigest()[:20])


def start(plan: Run, config: RunConfig) -> None:
    """Measure, unless somebody is already at it. The process outlives whoever started it."""
    with locks.beginning(plan):
        if plan.status().get("state") in store.ALIVE:
            return
        limits.starting(plan.path.parent.parent)
        store.prepare(plan, config, "plan.json", "worker.log")
        files.write_json(plan.path / "status.json", store.fresh_status())
        lifecycle.start_plan(plan)


def result(plan: Run) -> dict[str, Any] | None:
    """Return a finished plan's figures, None where there are none."""
    value = plan.json("plan.json")
    return value if isinstance(value, dict) and value.get("format") == config_.FORMAT else None


# -- the process --------------------------------------------------------------------------------------------------------


def measure(plan: Run, folder: Path) -> int:
    """Wait for the device, measure, write plan.json; return the exit status."""
    return reporting(plan, partial(_measure, plan, folder))


def _measure(plan: Run, folder: Path, log: Log) -> None:
    config = plan.config()
    try:
        with turn(config, log):
            log.begin()
            waited = now()
            with process.uncollected():
                from core.pipeline.setup import set_up  # torch is imported here, when the device is free
                from core.plan.measure import Estimate

            found = Estimate(set_up(plan, config, folder, log, make_room=client.leave), waited).measure()
        files.write_json(plan.path / "plan.json", {**found, "measured": now(), "seconds": now() - waited})
    finally:
        _clean(plan)


def _clean(plan: Run) -> None:
    """Remove what re-used stages brought along: a plan is a few numbers."""
    for name in ("before", "taught"):
        shutil.rmtree(plan.path / name, ignore_errors=True)
    for name in ("widened.jsonl", *(name for names in stage_files.SHIPPED.values() for name in names)):
        (plan.path / name).unlink(missing_ok=True)


def lines(found: dict[str, Any]) -> list[str]:
    """Return a plan as lines of text."""
    knows = found["knows"]
    said = [
        (
            f"As it is, the model predicts {knows['unlearn']:.0f} % of the answers' words of U and "
            f"{knows['retention']:.0f} % of R."
        )
    ]
    for cost in found["stages"]:
        said.append(f"{cost['name']:10} {cost['low']:8.1f} to {cost['high']:8.1f} s  {cost['how']}")
    total = found["total"]
    return [*said, f"{'total':10} {total['low']:8.1f} to {total['high']:8.1f} s", *found["notes"]]


def main(given: Sequence[str] | None = None) -> int:
    """Measure a plan's folder, or a configuration file given in a shell; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m core.jobs.estimate", description="Measure what a run would cost.")
    parser.add_argument("what", metavar="CONFIG.json", help="a configuration, or a plan's folder")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, as its last line")
    parser.add_argument("--runs", metavar="DIR", help="folder of runs (default: FORGETSCOPE_RUNS or ./runs)")
    options = parser.parse_args(given)
    path = Path(options.what).absolute()
    if path.is_dir():
        logs.start()
        return measure(Run(path), path.parent.parent)
    try:
        config = config_.load(path)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        plan = Run(Path(folder))
        config.save(plan.path / "config.json")
        status = measure(plan, store.runs_folder(options.runs))
        found = result(plan)
        if found:
            sys.stdout.write("\n".join([json.dumps(found)] if options.json else lines(found)) + "\n")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
