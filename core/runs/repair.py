"""`python -m core runs --check` and `--repair`: is every run whole, and what of it can be mended without guessing?

A repair never touches what somebody may still need: it says that a worker which is gone is gone, brings files back whose
SHA-256 the manifest vouches for from the cache of stages, and removes what processes that no longer live left half
written. Everything else is named with what a person can do.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from core.runs import liveness, store
from core.runs.store import Run
from core.util import access, files, paths
from core.util.errors import UserError

LEFT = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.[0-9a-f]{6}")
"""how store.write_text calls a file that is not yet in its place"""


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be."""

    where: str
    """the run's id, or the folder within the runs folder"""
    says: str
    """one sentence"""
    advice: str
    """what a person can do, or what --repair does"""
    mend: Callable[[], object] | None = None
    """what --repair does; None where only a person can decide"""


def examine(folder: Path) -> Iterator[Problem]:
    """Yield what is wrong with the runs of a folder, its cache included; nothing is changed."""
    for run in store.list_runs(folder):
        yield from of_run(run)
    yield from _leftovers(folder)


def of_run(run: Run) -> Iterator[Problem]:
    """Yield what is wrong with one run."""
    if problem := run.problem():
        yield Problem(run.id, problem, "Restore the file from a copy, or delete the run.")
        return
    written, now = run.json("status.json"), run.status()
    if written.get("state") != now["state"]:
        yield Problem(
            run.id,
            f"It is marked as {written.get('state')}, but its worker is gone.",
            "Repairing marks it as failed; it can then be resumed.",
            partial(files.write_json, run.path / "status.json", now),
        )
    elif now["state"] in store.ALIVE:
        return  # its files are about to change
    if now["state"] == "done":
        yield from _files(run)
    else:
        yield from _stages(run, now)


def _files(run: Run) -> Iterator[Problem]:
    """Compare a finished run's files with its manifest; what is damaged may lie undamaged in the cache."""
    manifest = run.json("manifest.json")
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        yield Problem(
            run.id, "It is done, but has no readable manifest.json.", "Start it again: finished stages come from the cache."
        )
        return
    keys = {
        stage: str(record.get("key")) for stage, record in (manifest.get("stages") or {}).items() if isinstance(record, dict)
    }
    for name, digest in manifest["files"].items():
        path = paths.inside(run.path, str(name))
        if path is None:
            yield Problem(run.id, f"Its manifest names a file outside of the run: {str(name)[:80]}.", "Delete the run.")
        elif (actual := files.sha256(path) if path.is_file() else None) != digest:
            state = "is missing" if actual is None else "is not what the manifest says (SHA-256)"
            copy = _copy(run, str(name), str(digest), keys)
            if copy:
                yield Problem(
                    run.id,
                    f"{name} {state}.",
                    "Repairing brings it back from the cache.",
                    partial(_bring, copy, path),
                )
            else:
                yield Problem(
                    run.id, f"{name} {state}.", "Import it again from an archive, or start it again with the same settings."
                )


def _copy(run: Run, name: str, digest: str, keys: dict[str, str]) -> Path | None:
    """Return an undamaged copy of a run's file in the cache, by the keys that its manifest has."""
    for stage, key in keys.items():
        path = paths.inside(run.path.parent / ".cache", f"{stage}/{key}/{name}")
        if path is not None and path.is_file() and files.sha256(path) == digest:
            return path
    return None


def _bring(source: Path, target: Path) -> None:
    """Replace a file by a copy in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # Called as all half-written files are, so that a later repair knows it should this process be killed.
    half = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(3).hex()}")
    shutil.copyfile(source, half)
    os.replace(half, target)


def _stages(run: Run, status: dict[str, Any]) -> Iterator[Problem]:
    """Name finished stages of an unfinished run whose files are not there: it would only be found out on resuming."""
    needed = {
        "teach": "before/adapter_model.safetensors",
        "localize": "localization.parquet",
        "region": "region.json",
        "unlearn": "unlearn.json",
    }
    for stage, name in needed.items():
        state = (status.get("stages") or {}).get(stage, {}).get("state")
        if state in ("done", "reused") and not (run.path / name).is_file():
            yield Problem(
                run.id,
                f"The stage {stage} is finished, but {name} is missing.",
                "Resume it: the stage is brought back or made again.",
            )


def _leftovers(folder: Path) -> Iterator[Problem]:
    """Yield what processes that are gone left half written."""
    for path in sorted(folder.rglob(".*")):
        match = LEFT.fullmatch(path.name)
        where = str(path.parent.relative_to(folder)) if path.parent != folder else "."
        if match and path.is_file() and not liveness.lives(int(match["pid"])):
            yield Problem(
                where,
                f"{match['name']} was being written when a process ended.",
                "Repairing removes the half; the old file is whole.",
                path.unlink,
            )
    for path in sorted(folder.glob(".cache/*/*.partial")):
        # Whoever makes the stage holds the lock as long as it lives; the age of the folder would say nothing.
        if not _locked(path.with_suffix(".lock")):
            yield Problem(
                str(path.parent.relative_to(folder)),
                f"The stage {path.stem[:12]}… was being made when a process ended.",
                "Repairing removes the part; it is made anew when it is needed.",
                partial(shutil.rmtree, path),
            )


def _locked(lock: Path) -> bool:
    from filelock import FileLock, Timeout

    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def repair(problems: list[Problem]) -> tuple[int, list[str]]:
    """Mend what can be mended; return how many were, and sentences about those that could not be."""
    access.changing()
    mended, failed = 0, []
    for problem in problems:
        if problem.mend is None:
            continue
        try:
            problem.mend()
            mended += 1
        except (OSError, UserError) as error:
            failed.append(f"{problem.where}: {error}")
    return mended, failed
