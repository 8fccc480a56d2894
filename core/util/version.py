"""The version of Forgetscope; pyproject.toml is the only place that says it."""

from __future__ import annotations

import functools
import tomllib

from core.util.paths import ROOT


@functools.cache
def version() -> str:
    """Return the version, as in 0.1.0."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
