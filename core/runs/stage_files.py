"""Files of stages that several runs share: made once, kept in .cache/STAGE/KEY, linked or copied into each run.

A stage is in the cache when its folder has a file .complete, which says where it came from; before that it is a .partial
folder, which a worker that was killed leaves behind for the next one to remove. What a bundled run holds of a stage with the
same key is taken from there, unless a file is not the one that its manifest names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from core.runs import locks
from core.runs.store import Run, bundled_runs
from core.util import files
from core.util.errors import UserError
from core.util.failure_sentences import disk_error as disk_error
from core.util.progress import Reporter
from core.util.safe_read import mapping

SAID = ("tokens.parquet", "answers.jsonl", "recorded.json", "unseen.parquet")
"""files of a run with what its voices say"""
SHIPPED = {
    "teach": ("before/adapter_config.json", "before/adapter_model.safetensors", "teach.json"),
    "retrain": ("retrained/adapter_config.json", "retrained/adapter_model.safetensors", "retrained.json"),
    "localize": ("localization.parquet", "contributions.parquet", "separability.parquet", "detail.npz"),
    "preflight": SAID,
    "reference": SAID,
}
"""stage -> files of a bundled run that still hold its result; some only with some settings"""

Found = Callable[[Run, Path], None]
"""(bundled run, folder) -> writes a stage's files there, out of those of the run, as its work would. Raises UserError for a
run that does not have all of them"""


def cached(
    folder: Path,
    stage: str,
    key: str,
    run: Run,
    produce: Callable[[Path], None],
    report: Reporter | None = None,
    found: Found | None = None,
) -> str:
    """Put a stage's files into the run: from the cache if it has them, else made by `produce` and kept there.

    Returns where they came from: "cache", "bundled run NAME" where that made the stage with the same key, "" where
    they were made now. Two runs that need the same stage make it once; report is asked whether to stop while the other one
    makes it, and hears why a bundled run is not used. found: gets the files out of those of a bundled run; None: they lie
    there as they are.
    """
    report = report or Reporter()
    stage_folder = folder / ".cache" / stage / key
    try:
        stage_folder.parent.mkdir(parents=True, exist_ok=True)
        with locks.held(f"{stage_folder}.lock", report.check):
            source = _source(stage_folder)
            if not source:
                partial = stage_folder.with_name(f"{key}.partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                try:
                    source = _from_bundled(stage, key, partial, report, found)
                    if not source:
                        produce(partial)
                    (partial / ".complete").write_text(source, encoding="utf-8")
                    # What lies there has no .complete, and a folder with files in it cannot be renamed over.
                    shutil.rmtree(stage_folder, ignore_errors=True)
                    partial.rename(stage_folder)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
            bring(folder, stage, key, run)  # while nobody may clean it away
    except OSError as error:
        raise disk_error(stage_folder, error) from error
    return source


def _source(stage_folder: Path) -> str:
    """Return where a stage in the cache came from, an empty string where it is not there."""
    try:
        return (stage_folder / ".complete").read_text(encoding="utf-8") or "cache"
    except FileNotFoundError:
        return ""


def _from_bundled(stage: str, key: str, target: Path, report: Reporter, found: Found | None) -> str:
    """Take a stage from a bundled run whose manifest says that it was made with this key; return which run."""
    for run in bundled_runs() if stage in SHIPPED else ():
        manifest = mapping(run.json("manifest.json"))
        if mapping(manifest, "stages", stage).get("key") != key:
            continue
        try:
            held = _unchanged(run, stage, mapping(manifest, "files"))
            if found:
                found(run, target)
            else:
                _copy(run, held, target)
        except UserError as error:
            report.event("finding", text=f"The bundled run {run.id} was not used for {stage}: {error.what}")
            continue
        return f"bundled run {run.id}"
    return ""


def _unchanged(run: Run, stage: str, listed: dict[str, str]) -> list[str]:
    """Return the files that hold a stage. Raises UserError where one is not what the manifest says."""
    names = SHIPPED[stage]
    there = {name: files.sha256(run.path / name) for name in names if (run.path / name).is_file()}
    if changed := [name for name in names if there.get(name) != listed.get(name)]:
        raise UserError(f"its file {changed[0]} is not the one that was shipped.", "Get it anew.")
    return list(there)


def _copy(run: Run, names: Iterable[str], target: Path) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.path / name, target / name)


def bring(folder: Path, stage: str, key: str, run: Run) -> None:
    """Link or copy a cached stage's files into a run. Raises UserError where the disk does not let it."""
    source = folder / ".cache" / stage / key
    try:
        for path in sorted(source.rglob("*")):
            if path.is_dir() or path.name == ".complete":
                continue
            goal = run.path / path.relative_to(source)
            goal.parent.mkdir(parents=True, exist_ok=True)
            # Never written into: it may be a link to a file in the cache, which other runs have too.
            goal.unlink(missing_ok=True)
            try:
                os.link(path, goal)
            except OSError:  # another file system, or one without links
                shutil.copy2(path, goal)
    except OSError as error:
        raise disk_error(run.path, error) from error
