"""What a run was made of: hashes of model, data, adapters and every other file, with versions, times and memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.run_config import FORMAT
from core.runs.store import Run
from core.runs.voices import VOICE
from core.util import files

if TYPE_CHECKING:
    from core.data.corpus import Corpus
    from core.models.adapters import Adapters
    from core.models.loading import Loaded

STILL_OPEN = {
    "status.json",
    "events.jsonl",
    "worker.log",
    "manifest.json",
    "cancel",
    "label.json",
    "imported.json",
    "regions.json",
    "harness.json",
    "verdicts.json",
    "controls.json",
}
"""Files that are written after the manifest, by the worker or a person: a hash of them would soon be wrong.

So it is with what lies in probes/."""


def write(
    run: Run,
    stages: dict[str, dict[str, Any]],
    loaded: Loaded,
    corpus: Corpus,
    adapters: Adapters,
    seed: int,
    processes: int,
) -> None:
    """Write manifest.json. stages: per stage its cache key, seconds, where it came from, and peak memory (MB)."""
    parts = {
        "model": {"name": loaded.name, "note": loaded.note, "weights": loaded.files},
        "adapters": {name: adapters.hash(name) for name in ("before", "after", VOICE) if name in adapters.names},
        "device": str(adapters.device),
        "dtype": adapters.dtype,
        "attention": str(loaded.model.config._attn_implementation),
        "processes": processes,
    }
    write_parts(run, stages, corpus, seed, parts)


def write_parts(run: Run, stages: dict[str, dict[str, Any]], corpus: Corpus, seed: int, parts: dict[str, Any]) -> None:
    """Write manifest.json with what is known of the models (model, adapters, device, dtype, …)."""
    import peft
    import torch
    import transformers

    versions = {"python": sys.version.split()[0], "torch": torch.__version__}
    versions |= {"transformers": transformers.__version__, "peft": peft.__version__}
    record = {
        "stages": stages,
        "format": FORMAT,
        **parts,
        "data": {"source": corpus.source, "fingerprint": corpus.fingerprint()},
        "seed": seed,
        "versions": versions,
        "files": _hashes(run),
    }
    files.write_json(run.path / "manifest.json", record)


def renew(run: Run, stages: dict[str, dict[str, Any]], adapters: dict[str, str]) -> None:
    """Bring a manifest up to date after later work on a run: its stages, its adapters' hashes, and the run's files."""
    record = run.json("manifest.json") or {}
    record["stages"] = {**record.get("stages", {}), **stages}
    record["adapters"] = {**record.get("adapters", {}), **adapters}
    files.write_json(run.path / "manifest.json", {**record, "files": _hashes(run)})


def listed(run: Run) -> Iterator[Path]:
    """Yield the files that a manifest lists, in order."""
    for path in sorted(run.path.rglob("*")):
        if path.is_file() and path.name not in STILL_OPEN and path.name[0] != "." and path.parent.name != "probes":
            yield path


def _hashes(run: Run) -> dict[str, str]:
    return {str(path.relative_to(run.path)): files.sha256(path) for path in listed(run)}
