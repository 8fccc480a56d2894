"""Forgetscope's engine. Names are imported when first used, so that `import core` stays light (PEP 562).

from core import preset, submit, follow, find, ask
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "RunConfig": "core.config.run_config",
    "preset": "core.config.run_config",
    "METHODS": "core.methods",
    "METRICS": "core.metrics",
    "REGIONS": "core.regions",
    "UserError": "core.util.errors",
    "load_data": "core.data.sources:load",
    "Run": "core.runs.store",
    "find": "core.runs.store",
    "list_runs": "core.runs.store",
    "submit": "core.jobs.lifecycle",
    "follow": "core.jobs.lifecycle",
    "ask": "core.serve.client",
    "texts": "core.serve.client",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'core' has no attribute {name!r}")
    module, _, other = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), other or name)
