"""What a list of runs says about each of them, read once for each version of its files; and how runs differ.

Reads files only; no torch. Of five thousand runs nothing but the times of change is read again while they stay as they are.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core.runs import asked, labels, liveness, scores, store
from core.runs.asked import Brief
from core.runs.labels import Label
from core.runs.scores import Scores
from core.runs.store import Run
from core.runs.summary import memory
from core.runs.voices import SPOKEN
from core.util.errors import UserError
from core.util.safe_read import mapping, moment, number, stamp

FILES = f"config.json status.json region.json {scores.FILE} manifest.json label.json imported.json checkpoints"
READ = (*FILES.split(), "")
"""What an overview depends on; the run's own folder (last) changes when a file comes or goes."""
NAMED = ("config.json", "status.json", "label.json")
"""what a run's headline depends on"""
MOST = 2**16
"""runs that are remembered: with fewer than there are, none would still be there when it is its turn again"""
PARTS = ("unlearn/train", "unlearn/val", "retention/train", "retention/val")


_READING = threading.Lock()


@dataclass(frozen=True)
class Overview:
    """A run as one row. Numbers that were not measured are None."""

    id: str
    bundled: bool
    name: str
    state: str
    problem: str = ""
    """why the run cannot be read; then nothing but its size is known"""
    label: Label = field(default_factory=Label)
    model: str = ""
    data: str = ""
    method: str = ""
    region: str = ""
    """the rule, with its count once it is applied"""
    said: Brief | None = None
    """what it says when asked; None where nothing was"""
    success: Mapping[str, float] = field(default_factory=dict)
    """VOICE/SCOPE/SPLIT -> Unlearn Success or Retention Success in percent; voices: before, after, never"""
    knew: Mapping[str, float] = field(default_factory=dict)
    """SPLIT -> never-knew score"""
    seconds: float | None = None
    """work time of all stages"""
    peak_memory: float | None = None
    """bytes"""
    created: float | None = None
    """seconds since 1970"""
    size: int = 0
    """bytes of all files"""
    imported: Mapping[str, Any] = field(default_factory=dict)
    """imported.json, where the run came in an archive"""


def overview(run: Run) -> Overview:
    """Return a run's row. Never raises for a damaged run: that one is `unreadable`, with the reason."""
    path = str(run.path)
    versions = tuple(stamp(f"{path}/{name}") for name in READ)
    with _READING:  # who lists the same thousands at the same time does not read them a second time
        row = _read(path, versions)
    if row.state in store.ALIVE:  # whether its worker still lives, no file says
        return _with_state(row, str(run.status().get("state")))
    return row


@dataclass(frozen=True)
class Headline:
    """A run as a line in a list of names."""

    name: str
    state: str
    created: float | None
    """seconds since 1970"""


def headline(run: Run) -> Headline:
    """Return a run's name, state and time: three files, where an overview looks at all of them."""
    path = str(run.path)
    row = _headline(path, tuple(stamp(f"{path}/{name}") for name in NAMED))
    living = row.state in store.ALIVE  # as far as files say
    return replace(row, state=str(run.status().get("state"))) if living else row


@functools.lru_cache(maxsize=MOST)
def _headline(path: str, stamps: tuple[tuple[int, int], ...]) -> Headline:
    run = Run(Path(path))
    config, status = mapping(run.json("config.json")), run.json("status.json")
    state = str(status.get("state")) if isinstance(status, dict) else "unreadable"
    return Headline(
        labels.read(run).name or str(config.get("name") or run.id), state, moment(mapping(status).get("created"))
    )


def _with_state(row: Overview, state: str) -> Overview:
    return row if state == row.state else replace(row, state=state)


# The stamps are not read: by them a row that is remembered belongs to one version of the files.
@functools.lru_cache(maxsize=MOST)
def _read(path: str, stamps: tuple[tuple[int, int], ...]) -> Overview:
    run = Run(Path(path))
    label, size = labels.read(run), size_on_disk(run.path)
    try:
        config, status = run.config(), run.json("status.json")
        if not liveness.readable(status):
            raise UserError(f"The run {run.id} has no readable status.json.")
    except UserError as error:
        return Overview(run.id, run.bundled, label.name or run.id, "unreadable", str(error), label, size=size)
    region = mapping(run.json("region.json"))
    stages, imported = mapping(run.json("manifest.json"), "stages"), mapping(run.json("imported.json"))
    said, success, knew = _scores(run)
    rule = "" if config.audit.after else config.region.name
    if rule and isinstance(region.get("count"), int):
        rule = f"{rule} {region['count']} of {region.get('total', '?')}"
    source = config.data.source.rstrip("/").rpartition("/")[2] if config.data.source[:1] in "/~." else config.data.source
    return Overview(
        run.id,
        run.bundled,
        label.name or config.name or run.id,
        str(status.get("state")),
        "",
        label,
        model=config.model.name,
        data=f"{source} {config.data.subset}".strip(),
        region=rule,
        method="audit" if config.audit.after else config.unlearn.method.label,
        said=said,
        success=success,
        knew=knew,
        seconds=_total(stages or mapping(status.get("stages")), "seconds"),
        peak_memory=peak_memory(stages) or peak_memory(mapping(status.get("stages"))),
        created=moment(status.get("created")),
        size=size,
        imported=imported,
    )


def size_on_disk(folder: Path) -> int:
    """Return the bytes of all files below a folder. Stages that several runs share count for each of them."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:  # removed meanwhile
                continue
    return total


def _scores(run: Run) -> tuple[Brief | None, dict[str, float], dict[str, float]]:
    measured = Scores.read_once(run)
    success = {}
    for voice in SPOKEN:
        for part in set(PARTS).intersection(measured.parts("accuracy", voice)):
            if (percent := measured.success(voice, *part.split("/")).value) is not None:
                success[f"{voice}/{part}"] = percent
    knew = measured.values("never_knew", "after")
    return asked.brief(measured), success, {split: knew[split] for split in ("train", "val") if split in knew}


def _total(stages: Mapping[str, Any], key: str) -> float | None:
    values = [value for stage in stages.values() if (value := number(mapping(stage).get(key))) is not None]
    return sum(values) if values else None


def peak_memory(stages: Mapping[str, Any]) -> float | None:
    """Return the largest peak of a manifest's stages on any device, in bytes; None where none was recorded."""
    return max((peak for stage in stages.values() for peak in memory(mapping(stage)).values()), default=None)


def readable(run: Run) -> dict[str, Any]:
    """Return a run's settings as plain values, empty where they cannot be read."""
    try:
        return run.config().to_json()
    except (UserError, RecursionError):
        return {}
