"""The command that makes a run again: what its settings change against their preset. No heavy import."""

from __future__ import annotations

import shlex
from typing import Any

from core.config import run_config as config_
from core.config.presets import DEFAULT, PRESETS
from core.config.run_config import RunConfig, flat
from core.methods.own import OwnMethod
from core.util.errors import UserError

FAMILIES = ("unlearn.method", "region")
"""settings that are one of several kinds: the kind is set first, then its own settings"""
ELSEWHERE = ("name", "preset", "format", "model.trust_remote_code", "unlearn.method.name", "region.name")


def command(config: RunConfig) -> str:
    """Return one line for a shell, an empty one where no such line gives exactly these settings.

    A method in a file of one's own and values with commas in them have none: for these, keep the configuration's file.
    """
    if isinstance(config.unlearn.method, OwnMethod) or config.model.trust_remote_code:
        return ""
    changes, base = [], config_.preset(config.preset) if config.preset in PRESETS else RunConfig()
    usual = base.preset
    mine = config.to_json()
    for path in FAMILIES:
        name = _at(mine, path)["name"]
        if name != _at(base.to_json(), path)["name"]:
            changes.append((path, name))
            base = base.with_setting(path, name)
    theirs = flat(base.to_json())
    changes += [(k, _written(v)) for k, v in flat(mine).items() if k not in ELSEWHERE and v != theirs.get(k)]
    try:
        again = config_.preset(usual)
        for key, value in [*changes, ("name", config.name)]:
            again = again.with_setting(key, value)
    except UserError:
        return ""
    if {**again.to_json(), "preset": config.preset} != mine:
        return ""
    preset = ["--preset", usual] if usual != DEFAULT else []
    settings = [word for key, value in changes for word in ("--set", f"{key}={value}")]
    return shlex.join(["python", "-m", "core", "run", *preset, *settings, *(["--name", config.name] if config.name else [])])


def _at(values: dict[str, Any], path: str) -> dict[str, Any]:
    for key in path.split("."):
        values = values[key]
    return values


def _written(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
