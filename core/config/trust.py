"""Whose models may run code of their own here: those named with --trust-remote-code on this machine's command line.

A configuration may come from anybody (a file, an imported run, a folder that was copied among the runs), so that what it
says about trust is only a wish. What was allowed is kept in the cache folder, a file for each name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from core.config.run_config import RunConfig
from core.config.stages import ModelConfig
from core.util import files
from core.util.errors import UserError
from core.util.paths import cache_folder

FLAG = "--trust-remote-code"


def given(config: RunConfig, flag: bool, names: Iterable[str] = ()) -> RunConfig:
    """Return a configuration of the command line that trusts its models if the flag says so; they stay trusted here.

    names: further models of it. Raises UserError for one that asks for trust without the flag.
    """
    if config.model.trust_remote_code and not flag:
        raise UserError(
            "These settings let a model run code of its own, which only the command line may allow.",
            f"Add {FLAG} if you trust its authors.",
        )
    if not flag:
        return config
    for name in (config.model.name, *names):
        record = _record(name)
        record.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(record, f"{name}\n")
    return config.with_setting("model.trust_remote_code", True)


def check(config: ModelConfig) -> None:
    """Raise UserError for a model whose code is to run although nobody allowed it on this machine."""
    if config.trust_remote_code and not _record(config.name).is_file():
        raise UserError(
            f"The model {config.name} is to run code of its own, which was never allowed on this machine.",
            f"If you trust its authors, start a run of it with {FLAG}.",
        )


def _record(name: str) -> Path:
    # A hash, because a name may hold what no file name can.
    return cache_folder() / "trusted-code" / hashlib.sha256(name.encode(errors="replace")).hexdigest()
