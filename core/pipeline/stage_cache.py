"""A stage's files, from the cache or made now, for a run that several processes may do together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from core.models.distributed import Group
from core.runs import stage_files
from core.runs.store import Run
from core.util.errors import UserError


@contextlib.contextmanager
def _all_threads(group: Group) -> Iterator[None]:
    """Within this context the main process computes with everybody's threads: the others wait."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(threads * group.size)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def cached(
    group: Group,
    folder: Path,
    stage: str,
    key: str,
    run: Run,
    produce: Callable[[Path], None],
    *,
    together: bool,
    check: Callable[[], None] | None = None,
) -> str:
    """Do what stage_files.cached does with a whole group: the main process looks and writes, all make what must be made.

    together: False where the main process makes it alone while the others wait. Every process's run gets its files.
    """
    if group.size == 1:
        return stage_files.cached(folder, stage, key, run, produce, check)
    if len(set(group.all_gather(key))) > 1:
        raise UserError(f"The processes of this run do not agree before the stage {stage}.", "Report this as a bug.")
    if not group.is_main:
        if group.broadcast(False):
            place = run.path / f".{stage}"  # nobody reads it: the main process's files are the stage
            place.mkdir()
            produce(place)
        source = group.broadcast("")
        stage_files.bring(folder, stage, key, run)
        return source
    told: list[bool] = []

    def make(place: Path) -> None:
        told.append(group.broadcast(together))
        with contextlib.nullcontext() if together else _all_threads(group):
            produce(place)

    source = stage_files.cached(folder, stage, key, run, make, check)
    if not told:
        group.broadcast(False)
    return group.broadcast(source)
