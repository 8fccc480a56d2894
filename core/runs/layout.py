"""The hidden folders that stand beside the runs: later work on a run, named like the run, and the trash."""

from __future__ import annotations

from core.runs import store
from core.runs.store import Run

KINDS = {".sweeps": "sweep", ".references": "reference", ".probes": "probes", ".harness": "harness", ".plans": "estimate"}
"""folder beside the runs -> what is done in the places there"""
TRASH = ".trash"


def later(run: Run) -> str:
    """Say which later work on a run is queued or under way, an empty text where none is."""
    places = {kind: Run(run.path.parent / name / run.id) for name, kind in KINDS.items()}
    return ", ".join(
        kind for kind, place in places.items() if place.path.is_dir() and place.status().get("state") in store.ALIVE
    )
