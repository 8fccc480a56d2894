"""TODO say what this is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from core.models.distributed import Crew
from core.runs import stage_files
from core.runs.store import Run
from core.util.errors import UserError

if TYPE_CHECKING:
    pass


@contextlib.contextmanager
def _all_threads(crew: Crew) -> Iterator[None]:
    """Within this context the chief computes with everybody's threads: the others wait."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(threads * crew.size)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def cached(
    crew: Crew,
    folder: Path,
    stage: str,
    key: str,
    run: Run,
    produce: Callable[[Path], None],
    *,
    together: bool,
    check: Callable[[], None] | None = None,
) -> str:
    """Do what store.cached does with a whole crew: the chief looks and writes, and a stage that must be made is made by all.

    together: False where the chief makes it alone while the others wait. Every process's run gets the chief's files.
    """
    if crew.size == 1:
        return stage_files.cached(folder, stage, key, run, produce, check)
    if len(set(crew.gather(key))) > 1:
        raise UserError(f"The processes of this run do not agree before the stage {stage}.", "Report this as a bug.")
    if not crew.chief:
        if crew.said(False):
            place = run.path / f".{stage}"  # nobody reads it: the chief's files are the stage
            place.mkdir()
            produce(place)
        source = crew.said("")
        stage_files.bring(folder, stage, key, run)
        return source
    told: list[bool] = []

    def make(place: Path) -> None:
        told.append(crew.said(together))
        with contextlib.nullcontext() if together else _all_threads(crew):
            produce(place)

    source = stage_files.cached(folder, stage, key, run, make, check)
    if not told:
        crew.said(False)
    return crew.said(source)
