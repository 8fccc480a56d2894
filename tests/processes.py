"""What the tests of real processes share: a quick configuration, and the command line as a subprocess."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from core.config.run_config import RunConfig, preset
from core.jobs import lifecycle
from core.runs import store
from core.runs.store import Run

ROOT = Path(__file__).resolve().parent.parent

QUICK = {
    "teach.rank": 2,
    "teach.epochs": 1,
    "preflight.minimum_facts": 0.0,
    "localize.copies": 1,
    "unlearn.steps": 2,
    "unlearn.check_every": 1,
    "unlearn.stop": "never",
    "unlearn.retain_floor": 0.0,
    "answers.max_new_tokens": 4,
    "model.dtype": "float32",
    "evaluate.extras": False,
}
"""settings with which a tiny model's whole run takes a few seconds, most of them imports"""


def quick(model: Path, data: Path, **changes: Any) -> RunConfig:
    """Return a configuration for a tiny model; changes use __ for the dot."""
    config = preset("this-machine")
    values = {"model.name": str(model), "data.source": str(data), **QUICK}
    for path, value in {**values, **{key.replace("__", "."): value for key, value in changes.items()}}.items():
        config = config.with_setting(path, value)
    return config


def command(*arguments: str, env: dict[str, str] | None = None, wait: float = 120) -> subprocess.CompletedProcess[str]:
    """Run `python -m core …` and return what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "core", *arguments],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=wait,
        check=False,
    )


def last_json(text: str) -> dict[str, Any]:
    """Return the JSON object on the last line of an output."""
    value = json.loads(text.strip().splitlines()[-1])
    assert isinstance(value, dict)
    return value


def until(happened: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait for something, at most so long."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.05)


def end_all(folder: Path) -> None:
    """End every process that names a folder, or something in it, on its command line."""
    left = [p for p in psutil.process_iter(["cmdline"]) if any(str(folder) in part for part in p.info["cmdline"] or ())]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, 10)
    lifecycle.reap()


def state(run: Run) -> str:
    """Return a run's state."""
    return str(run.status()["state"])


def ended(run: Run) -> str:
    """Wait for a run's end and return its state. A busy machine takes long to import torch."""
    until(lambda: (lifecycle.reap(), state(run) in store.ENDED)[1], "the end of the run", 240)
    return state(run)
