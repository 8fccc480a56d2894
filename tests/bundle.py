"""Make the finished runs that ship in assets/runs: the same pipeline as for everybody, then a copy without logs.

`python -m tests.bundle` makes all of them, `python -m tests.bundle privacy-clean` one; `make bundled` is the former. The
run that shipped until then is set aside meanwhile, so that nothing is taken from it: every stage is made and measured,
but for what a bundled run beside it made already (of other presets on the same data both lessons, localization, and what
the reference voices said; a link stands for the same file). What a visitor sees first is thus a run that anybody can
repeat, with the default settings, and probes of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.cli import progress_bar
from core.config import run_config
from core.jobs import controls, lifecycle, probes
from core.probes import PROBES
from core.runs import askable, store
from core.runs.store import Run
from core.util import files
from core.util.errors import UserError, unknown

RUNS = {
    "privacy-clean": ("privacy", "clean", "Clean on the privacy demo"),
    "privacy-memflex": ("privacy", "this-machine", "MemFlex on the privacy demo"),
    "copyright-clean": ("copyright", "clean", "Clean on the copyright demo"),
}
"""id -> subset of the demo, preset, name; in the order in which they are made"""
SLOW = {"relearning", "benign"}
"""probes that train copies of the model, and are left out: minutes each"""

LEFT_OUT = {
    "worker.log",
    ".worker.lock",
    "cancel",
    "label.json",
    ".label.lock",
    "regions.json",
    ".regions.lock",
}
"""Logs, and what somebody wrote about the run."""
CONTROLS, RESULT = controls.FILE, "after/region.safetensors"
"""what controls said of a run that ships, which are not made again with it; what they said it of"""
LARGE = 100_000
"""bytes from which on a file that lies there already is a link to that"""


def copy(run: Run, target: Path) -> None:
    """Copy a finished run without log, most checkpoints, process ids and host name; what a run beside it has is linked."""
    _release(target)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(run.path, target, ignore=lambda _, names: [name for name in names if name in LEFT_OUT])
    # The first, one in the middle, the last and the one that was kept, so that “stop here” works on the first visit. Each
    # is as large as an adapter.
    steps, result = sorted((target / "checkpoints").glob("*")), askable.checkpoint(run, run.json("unlearn.json")["step"])
    stay = {result.name, *(steps[at].name for at in (0, len(steps) // 2, -1))} if steps else set()
    for path in steps:
        if path.name not in stay:
            path.unlink()
    _link(target.parent)
    manifest = run.json("manifest.json")
    manifest["files"] = {name: value for name, value in manifest["files"].items() if (target / name).exists()}
    files.write_json(target / "manifest.json", manifest)
    status = run.json("status.json")
    kept = {key: status[key] for key in ("format", "state", "stage", "stages", "created", "began", "ended", "error")}
    files.write_json(target / "status.json", {**kept, "host": "bundled", "pid": None, "heartbeat": kept["ended"]})


def _link(folder: Path) -> None:
    """Replace large files of runs by relative links to the same content before it, in the run or in one beside it."""
    there: dict[str, Path] = {}
    for run in sorted(store.list_runs(folder), key=lambda run: run.id):
        for path in sorted(run.path.rglob("*")):
            if path.is_symlink() or not path.is_file() or path.stat().st_size < LARGE:
                continue
            first = there.setdefault(files.sha256(path), path)
            if first != path:
                path.unlink()
                path.symlink_to(os.path.relpath(first, path.parent))


def _release(target: Path) -> None:
    """Replace what other runs link to in this one by copies: it is about to go."""
    for run in store.list_runs(target.parent):
        for path in run.path.rglob("*"):
            if run.path != target and path.is_symlink() and path.resolve().is_relative_to(target.resolve()):
                content = path.read_bytes()
                path.unlink()
                path.write_bytes(content)


@contextlib.contextmanager
def set_aside(target: Path) -> Iterator[None]:
    """Hide a bundled run while its successor is made; bring it back if that fails."""
    hidden = target.with_name(f".{target.name}")
    shutil.rmtree(hidden, ignore_errors=True)
    _release(target)
    if target.exists():
        target.rename(hidden)
    try:
        yield
        if (hidden / CONTROLS).exists() and files.sha256(hidden / RESULT) == files.sha256(target / RESULT):
            shutil.copy(hidden / CONTROLS, target / CONTROLS)
    finally:
        if not target.exists() and hidden.exists():
            hidden.rename(target)
        shutil.rmtree(hidden, ignore_errors=True)
        _link(target.parent)


def make(name: str) -> None:
    """Run one demo in a temporary folder and bring it home. Raises UserError where it does not finish."""
    subset, preset, title = RUNS[name]
    target = store.BUNDLED_RUNS / name
    settings = run_config.preset(preset).with_setting("name", title)
    with tempfile.TemporaryDirectory() as folder, set_aside(target):
        run = lifecycle.submit(settings.with_setting("data.subset", subset), Path(folder))
        finish(run)
        finish(probes.start(run, [probe for probe in PROBES if probe not in SLOW]))
        copy(run, target)


def finish(work: Run) -> None:
    """Follow a run, or the probes of one, to its end. Raises UserError where it is not done."""
    if progress_bar.follow(work) != "done":
        raise UserError(f"It ended {work.status()['state']}.", str(work.status().get("error")))


def main(names: Sequence[str]) -> int:
    """Make some of the runs, all by default."""
    for name in names:
        if name not in RUNS:
            raise unknown("bundled run", name, RUNS)
    for name in names or RUNS:
        make(name)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as problem:
        sys.stderr.write(f"{problem}\n")
        sys.exit(1)
