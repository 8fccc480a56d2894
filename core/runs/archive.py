"""Runs as one file: a .zip with a list of hashes, and everything checked before anything of it lands among the runs.

Layout: archive.json (format, runs: id and, for every file, sha256 and bytes), then ID/FILE for every file. Whoever made
an archive may be anybody: names, sizes, hashes and contents are all checked, and nothing in it is ever executed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from core.runs import archive_check, labels, store, trash
from core.runs.archive_check import refused
from core.runs.store import Run
from core.util import access, failure_sentences
from core.util import files as files_
from core.util.errors import UserError

FORMAT = 1
KIND = "forgetscope-runs"
LIST = "archive.json"
SUFFIXES = {".json", ".jsonl", ".parquet", ".npz", ".safetensors"}
"""Data only. Pickles (.pkl, .bin, .pt) can run code when they are read, so there are none."""
LEFT_OUT = {"imported.json"}
"""where this copy of a run came from: the next one writes its own"""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}")
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
"""names that mean devices on some systems"""
DEPTH = 3
"""parts of a path in a run, at most"""
MOST_FILES, MOST_RUNS = 5000, 100
LARGEST = 16 * 2**30
"""bytes of an archive's files, unpacked"""
LARGEST_TEXT = {".json": 32 * 2**20, ".jsonl": 128 * 2**20}
"""bytes of such a file: it is read whole, and takes several times that as values"""
RATIO, RATIO_FROM = 100, 2**20
"""A file that unpacks to more than a hundred times its size, and to more than 1 MB, is a bomb."""
Files = dict[str, dict[str, Any]]


# -- export -----------------------------------------------------------------------------------------------------------


def export(runs: Sequence[Run], target: Path) -> Path:
    """Write runs into one archive, in one step. Raises UserError for a living or unreadable run, or a full disk."""
    # Beside the target: only within one file system is a renaming one step.
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            write(runs, file)
        os.replace(temporary, target)
    except OSError as error:
        raise failure_sentences.disk_error(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def write(runs: Sequence[Run], file: IO[bytes]) -> None:
    """Write runs into an open file as an archive; the same files give the same bytes. Raises UserError, OSError."""
    unique = list({run.id: run for run in runs}.values())
    if not unique:
        raise UserError("No run is chosen.", "Choose at least one.")
    if len(unique) > MOST_RUNS:
        raise UserError(f"{len(unique)} runs are more than an archive holds.", f"Export at most {MOST_RUNS} at a time.")
    for run in unique:
        exportable(run)
        if not NAME.fullmatch(run.id):
            raise UserError(
                f"The folder of “{run.id}” has a name that no run has.", "Rename it: letters, digits and hyphens."
            )
    listed: list[dict[str, Any]] = []
    with zipfile.ZipFile(file, "w") as archive:
        for run in unique:
            files: Files = {}
            for path in _files_of(run):
                name = path.relative_to(run.path).as_posix()
                digest, size = _pack(archive, f"{run.id}/{name}", path)
                files[name] = {"sha256": digest, "bytes": size}
            listed.append({"id": run.id, "files": files})
        text = json.dumps({"format": FORMAT, "kind": KIND, "runs": listed}, indent=1)
        archive.writestr(zipfile.ZipInfo(LIST), text, zipfile.ZIP_DEFLATED)


def exportable(run: Run) -> None:
    """Raise UserError for a run that cannot be exported: one that lives, or is unreadable."""
    if problem := run.problem():
        raise UserError(problem, "An unreadable run cannot be exported.")
    if run.status().get("state") in store.ALIVE:
        raise UserError(f"The run {run.id} is {run.status()['state']}.", "Export it when it has ended.")


def _files_of(run: Run) -> Iterator[Path]:
    """Yield the files that an archive may hold; logs, locks and other people's files stay here."""
    for path in sorted(run.path.rglob("*")):
        name = path.relative_to(run.path).as_posix()
        # Links of bundled runs are to files of one beside it; anybody else's may lead anywhere.
        own = run.bundled or not path.is_symlink()
        if own and path.is_file() and name not in LEFT_OUT and _allowed(name):
            yield path


def _allowed(name: str) -> bool:
    parts = name.split("/")
    good = all(NAME.fullmatch(part) and not RESERVED.fullmatch(part) for part in parts)
    return good and len(parts) <= DEPTH and Path(name).suffix in SUFFIXES


def _pack(archive: zipfile.ZipFile, name: str, path: Path) -> tuple[str, int]:
    """Copy a file into the archive and return its hash and size, as they were while it was copied."""
    digest, size = hashlib.sha256(), 0
    info = zipfile.ZipInfo(name)  # without the file's date, so that the same run gives the same bytes
    info.compress_type = zipfile.ZIP_DEFLATED if path.suffix in LARGEST_TEXT else zipfile.ZIP_STORED  # arrays do not shrink
    info.file_size = path.stat().st_size  # decides whether the entry needs 64-bit sizes
    with path.open("rb") as source, archive.open(info, "w") as target:
        while piece := source.read(2**20):
            digest.update(piece)
            size += target.write(piece)
    return digest.hexdigest(), size


# -- import -----------------------------------------------------------------------------------------------------------


def import_(source: Path | IO[bytes], folder: Path, called: str = "") -> list[Run]:
    """Check an archive and put its runs into the runs folder; return them under their ids there.

    Raises UserError, one sentence long, for whatever is wrong with it; then nothing of it is kept. `called` is the
    file's name, which the imported runs remember.
    """
    access.changing()
    called = called or (source.name if isinstance(source, Path) else "an archive")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Within the runs folder, so that moving in is a renaming; its name begins with a dot, so no list shows it.
        with _opened(source) as archive, tempfile.TemporaryDirectory(prefix=".import-", dir=folder) as workspace:
            listed = _listed(archive, folder)
            for name, files in listed.items():
                _unpack(archive, name, files, Path(workspace) / name)
            # All are checked before the first moves in: an archive is refused as a whole.
            for name in listed:
                archive_check.check(Path(workspace) / name)
                _settle(Path(workspace) / name, name, called)
            return [_move_in(Path(workspace) / name, folder) for name in listed]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError):
        raise UserError(f"{called} is not a complete zip file.", "Export the run again, or copy the file again.") from None
    except FileNotFoundError as error:
        raise UserError(f"The file {error.filename} does not exist.", "Give the path of an exported run.") from None
    except OSError as error:
        raise failure_sentences.disk_error(folder, error) from error


def _opened(source: Path | IO[bytes]) -> zipfile.ZipFile:
    """Open a zip. Raises BadZipFile also where its table lies before its beginning, which zipfile only stumbles over."""
    try:
        return zipfile.ZipFile(source)
    except (ValueError, OverflowError) as error:
        raise zipfile.BadZipFile(str(error)) from error


def _listed(archive: zipfile.ZipFile, folder: Path) -> dict[str, Files]:
    """Check everything that can be known without unpacking; return run id -> its files. Raises UserError."""
    entries = _entries(archive)
    listed = _list(archive, entries)
    expected = {f"{run}/{name}" for run, files in listed.items() for name in files}
    there = set(entries) - {LIST}
    if extra := sorted(there - expected):
        raise refused(f"it holds a file that is not in its list ({_short(extra[0])})")
    if missing := sorted(expected - there):
        raise refused(f"a file of its list is missing ({_short(missing[0])})")
    for run, files in listed.items():
        for name, facts in files.items():
            if entries[f"{run}/{name}"].file_size != facts["bytes"]:
                raise refused(f"a file has another size than its list says ({_short(name)})")
    total = sum(entry.file_size for entry in entries.values())
    if total > shutil.disk_usage(folder).free:
        raise refused(f"it needs {total / 1e9:.1f} GB, more than there is on this disk")
    return listed


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the archive's files by name, after a look at each name, kind and size. Raises UserError."""
    entries: dict[str, zipfile.ZipInfo] = {}
    lowered = set()
    if len(archive.infolist()) > MOST_FILES:
        raise refused(f"it holds more than {MOST_FILES} files")
    for entry in archive.infolist():
        _entry(entry)
        if entry.filename.lower() in lowered:  # some file systems would write both into one file
            raise refused(f"it holds a file twice ({_short(entry.filename)})")
        lowered.add(entry.filename.lower())
        entries[entry.filename] = entry
    folders = {parent.as_posix().lower() for name in entries for parent in Path(name).parents}
    if lowered & folders:
        raise refused("a file in it has the name of a folder")
    if sum(entry.file_size for entry in entries.values()) > LARGEST:
        raise refused(f"it would unpack to more than {LARGEST / 2**30:.0f} GB")
    return entries


def _entry(entry: zipfile.ZipInfo) -> None:
    """Check one entry by what the zip says about it. Raises UserError."""
    # orig_filename still has what zipfile cuts off or replaces in filename: a NUL, a backslash.
    name, short = entry.orig_filename, _short(entry.orig_filename)
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
        raise refused(f"it names a place outside of the run's folder ({short})")
    mode = entry.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise refused(f"it holds a link or something else that is no plain file ({short})")
    if entry.header_offset < 0:  # zipfile would seek there
        raise zipfile.BadZipFile(name)
    if entry.flag_bits & 0x1:
        raise refused("it is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refused(f"it is packed in a way that is not used here ({short})")
    inner = name.partition("/")[2]
    if name != LIST and not (inner and NAME.fullmatch(name.partition("/")[0]) and _allowed(inner)):
        raise refused(f"it holds a file that no run has ({short})")
    if entry.file_size > max(RATIO_FROM, RATIO * entry.compress_size):
        raise refused(f"a file unpacks to more than {RATIO} times its size ({short})")
    if entry.file_size > (most := LARGEST_TEXT.get(Path(name).suffix, LARGEST)):
        raise refused(f"a file in it is larger than {most // 2**20} MB ({short})")


def _list(archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]) -> dict[str, Files]:
    """Read archive.json. Raises UserError."""
    if LIST not in entries:
        raise refused(f"it has no {LIST}, so it is no exported run")
    values = archive_check.parsed(archive.read(LIST), LIST)
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise refused(f"its {LIST} is not that of an exported run")
    version, runs = values.get("format"), values.get("runs")
    if isinstance(version, int) and version > FORMAT:
        raise UserError(f"The archive has format {version}, newer than this Forgetscope ({FORMAT}).", "Update Forgetscope.")
    if version != FORMAT or not isinstance(runs, list) or not 0 < len(runs) <= MOST_RUNS:
        raise refused(f"its {LIST} is damaged")
    listed: dict[str, Files] = {}
    for run in runs:
        name, files = (run.get("id"), run.get("files")) if isinstance(run, dict) else (None, None)
        if not (isinstance(name, str) and NAME.fullmatch(name) and name not in listed and isinstance(files, dict)):
            raise refused(f"its {LIST} is damaged")
        if not all(_facts(facts) for facts in files.values()):
            raise refused(f"its {LIST} is damaged")
        listed[name] = files
    return listed


def _facts(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("sha256"), str) and isinstance(value.get("bytes"), int)


def _unpack(archive: zipfile.ZipFile, run: str, files: Files, target: Path) -> None:
    """Unpack a run's files and compare their hashes. Raises UserError."""
    for name, facts in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with archive.open(f"{run}/{name}") as source, path.open("xb") as goal:
            while piece := source.read(2**20):
                digest.update(piece)
                goal.write(piece)
        if digest.hexdigest() != facts["sha256"]:
            raise refused(f"a file is not what its hash says ({_short(name)})")


def _settle(path: Path, name: str, called: str) -> None:
    """Make a run one of this machine: no process of its own, no foreign code, and a note on where it came from."""
    run, changed = Run(path), []
    config = run.config()
    if config.model.trust_remote_code:  # only this machine's command line may allow that
        config.with_setting("model.trust_remote_code", False).save(path / "config.json")
        changed.append("model.trust_remote_code was switched off")
    files_.write_json(path / "status.json", archive_check.settled(run.json("status.json")))
    if (path / labels.FILE).exists():
        label = labels.read(run)
        files_.write_json(path / labels.FILE, {"format": labels.FORMAT, **label.__dict__})
    note = {"format": FORMAT, "archive": called[:200], "run": name, "when": time.time(), "changed": changed}
    files_.write_json(path / "imported.json", note)


def _move_in(path: Path, folder: Path) -> Run:
    """Rename a checked run into the runs folder under an id that is free there."""
    while True:
        target = trash.free(folder, path.name)
        try:
            os.rename(path, target)
        except OSError as error:
            # Another import took the id between the look and the rename: a folder with something in it is not replaced.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            continue
        return Run(target)


def _short(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:57]}…")
