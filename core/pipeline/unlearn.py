"""TODO say what this is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.runs import store

if TYPE_CHECKING:
    import torch


def updates(name: str, folder: Path) -> list[dict[str, torch.Tensor]]:
    """Return the updates (after − before, tensor by tensor) of a run and of all that it went on from, oldest first."""
    from core.models.adapter_files import read_adapter, read_tensors
    from core.runs.askable import unlearned

    found: list[dict[str, torch.Tensor]] = []
    seen: set[str] = set()
    while name and name not in seen:
        seen.add(name)
        run = store.known(name, folder)
        before = read_adapter(run.path / "before")
        after = read_tensors(unlearned(run))
        found.insert(0, {cell: value - before[cell] for cell, value in after.items()})
        name = run.config().teach.from_run
    return found
