"""What tests of runs and commands share: a quick configuration, the command line, and waiting for a run's end."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.cli.main import main
from core.config.run_config import RunConfig, preset
from core.jobs import lifecycle
from core.runs import store
from core.runs.store import Run

ROOT = Path(__file__).resolve().parent.parent

QUICK = {
    "teach.rank": 2,
    "teach.epochs": 1,
    "teach.keep_weight": 0.0,
    "teach.reword": False,
    "teach.retrain": False,
    "preflight.minimum_facts": 0.0,
    "localize.copies": 1,
    "unlearn.steps": 2,
    "unlearn.check_every": 1,
    "unlearn.stop": "never",
    "unlearn.retain_floor": 0.0,
    "answers.max_new_tokens": 4,
    "model.dtype": "float32",
    "model.template": "plain",
    "evaluate.extras": False,
}
"""settings with which a tiny model's whole run takes a few seconds, most of them imports"""
PLAIN = tuple(name for name in store.STAGES if name not in store.COMPARED)
"""stages of such a run: no second model is taught"""


def quick(model: Path, data: Path, **changes: Any) -> RunConfig:
    """Return a configuration for a tiny model; changes use __ for the dot."""
    config = preset("this-machine")
    values = {"model.name": str(model), "data.source": str(data), **QUICK}
    for path, value in {**values, **{key.replace("__", "."): value for key, value in changes.items()}}.items():
        config = config.with_setting(path, value)
    return config


def command(
    *arguments: str, env: dict[str, str] | None = None, wait: float = 120, real: bool = False
) -> subprocess.CompletedProcess[str]:
    """Return what `python -m core …` prints, and its exit status.

    The command line is called in this process, which has the libraries already; what it starts are processes all the same.
    real: start one, for what only a process shows (its own imports, the status that a shell sees); at most `wait` seconds.
    Whoever sends signals or closes pipes starts the process himself.
    """
    asked = [sys.executable, "-m", "core", *arguments]
    if real:
        env = {**os.environ, **(env or {})}
        return subprocess.run(asked, cwd=ROOT, env=env, capture_output=True, text=True, timeout=wait, check=False)
    out, messages = io.StringIO(), io.StringIO()
    with _as_it_was(), pytest.MonkeyPatch.context() as patch:
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        patch.chdir(ROOT)
        patch.setattr(sys, "argv", ["core", *arguments])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(messages):
            try:
                status = main(arguments)
            except SystemExit as end:  # wrong usage, and --help
                status = end.code if isinstance(end.code, int) else 1
    return subprocess.CompletedProcess(asked, status, out.getvalue(), messages.getvalue())


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Put back afterwards what a process would take with it at its end: signal and log handlers, and the environment."""
    root, environment = logging.getLogger(), dict(os.environ)
    handlers, level = list(root.handlers), root.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in signals.items():
            signal.signal(number, handler)
        root.handlers[:] = handlers
        root.setLevel(level)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)


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
