"""Remake the finished run that ships in assets/runs: the same pipeline as for everybody, then a copy without logs.

`python -m core.bundle` (or `make bundled`). What a visitor sees first is thus a run that anybody can repeat.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from core import config, jobs, progress_bar, store
from core.errors import UserError
from core.store import Run

LEFT_OUT = {"worker.log", ".worker.lock", "cancel", "checkpoints", "label.json", ".label.lock"}
"""Logs, what somebody wrote about the run, and the checkpoints: seven times the size of the result."""


def copy(run: Run, target: Path) -> None:
    """Copy a finished run without log, checkpoints, process ids and host name."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(run.path, target, ignore=lambda _, names: [name for name in names if name in LEFT_OUT])
    manifest = run.json("manifest.json")
    manifest["files"] = {name: value for name, value in manifest["files"].items() if (target / name).exists()}
    store.write_json(target / "manifest.json", manifest)
    status = run.json("status.json")
    kept = {key: status[key] for key in ("format", "state", "stage", "stages", "created", "began", "ended", "error")}
    store.write_json(target / "status.json", {**kept, "host": "bundled", "pid": None, "heartbeat": kept["ended"]})


def main() -> int:
    """Run the demo in a temporary folder and bring it home."""
    with tempfile.TemporaryDirectory() as folder:
        run = jobs.submit(config.preset("this-machine").with_setting("name", "MemFlex on the privacy demo"), Path(folder))
        if progress_bar.follow(run) != "done":
            raise UserError(f"The run ended {run.status()['state']}.", str(run.status().get("error")))
        copy(run, store.BUNDLED_RUNS / "privacy-memflex")
    return 0


if __name__ == "__main__":
    sys.exit(main())
