"""Audits: runs that compare models made elsewhere. What audit.json says, and what pages tell of such a run."""

from __future__ import annotations

from typing import Any

from core.runs.store import Run

FILE = "audit.json"
KIND = "audit"
STAGES = ("answers", "evaluate")
"""those of a run's stages that an audit has"""
NO_HEATMAP = "This is an audit of models made elsewhere: nothing was located here, so there is no region to show."
NO_NEVER = "no model that never knew the data was given: name one with --never"


def of(run: Run) -> dict[str, Any] | None:
    """Return what an audit compared, None for a run that is none: see core/pipeline/audit_run.py for the entries."""
    found = run.json(FILE)
    return found if isinstance(found, dict) and isinstance(found.get("sides"), dict) else None


def whole(run: Run) -> bool:
    """Say whether a run is an audit of models that share no base: there is no adapter to blend or to put back."""
    found = of(run)
    return found is not None and bool(found.get("whole"))


def no_never(run: Run) -> str:
    """Say why the base of an audit's adapters is not the model that never knew; empty where it is, or for other runs."""
    found = of(run)
    if found is None:
        return ""
    if "never" not in found["sides"]:
        return NO_NEVER
    same = found["sides"]["never"].get("base") == found["sides"].get("before", {}).get("base")
    return "" if same else "the model that never knew has another base than these adapters"
