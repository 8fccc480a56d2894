"""What a run was made of: hashes of model, data, adapters and every other file, with versions, times and memory."""

from __future__ import annotations

import sys
from typing import Any

import peft
import torch
import transformers

from core import models, store
from core.adapters import Adapters
from core.config import FORMAT
from core.data import Corpus
from core.models import Loaded
from core.store import Run

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
}
"""Files that are written after the manifest, by the worker or a person: a hash of them would soon be wrong.

So it is with what lies in probes/."""


def write(
    run: Run, stages: dict[str, dict[str, Any]], loaded: Loaded, corpus: Corpus, adapters: Adapters, seed: int
) -> None:
    """Write manifest.json. stages: per stage its cache key, seconds, where it came from, and peak memory (MB)."""
    files = _hashes(run)
    versions = {"python": sys.version.split()[0], "torch": torch.__version__}
    versions |= {"transformers": transformers.__version__, "peft": peft.__version__}
    value = {
        "stages": stages,
        "format": FORMAT,
        "model": {"name": loaded.name, "note": loaded.note, "weights": loaded.files},
        "data": {"source": corpus.source, "fingerprint": corpus.fingerprint()},
        "adapters": {"before": adapters.hash("before"), "after": adapters.hash("after")},
        "seed": seed,
        "device": str(adapters.device),
        "dtype": adapters.dtype,
        "versions": versions,
        "files": files,
    }
    store.write_json(run.path / "manifest.json", value)


def renew(run: Run, stages: dict[str, dict[str, Any]], adapters: dict[str, str]) -> None:
    """Bring a manifest up to date after later work on a run: its stages, its adapters' hashes, and the run's files."""
    value = run.json("manifest.json") or {}
    value["stages"] = {**value.get("stages", {}), **stages}
    value["adapters"] = {**value.get("adapters", {}), **adapters}
    store.write_json(run.path / "manifest.json", {**value, "files": _hashes(run)})


def _hashes(run: Run) -> dict[str, str]:
    return {
        str(path.relative_to(run.path)): models.sha256(path)
        for path in sorted(run.path.rglob("*"))
        if path.is_file() and path.name not in STILL_OPEN and path.name[0] != "." and path.parent.name != "probes"
    }
