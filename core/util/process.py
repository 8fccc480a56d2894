"""How a process that computes is set up: its environment, and what is done while heavy libraries are imported."""

from __future__ import annotations

import contextlib
import gc
import os
import pkgutil
from collections.abc import Iterator
from typing import Any

from core.util import access
from core.util.paths import ROOT


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Let the garbage collector rest while modules are imported.

    torch, transformers and peft make a million objects that stay for good. The collector would look through all of them
    again and again, and find nothing: an eighth of the time.
    """
    working = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if working:
            gc.enable()


def resolved(name: str) -> Any:
    """Return what "module:name" stands for, importing the module now: where a light one goes over to work that needs torch.

    Only tables and processes whose turn has come name things so; everything else imports at its top.
    """
    with uncollected():
        return pkgutil.resolve_name(name)


PROCESS = {
    # Tensors of some 100 MB come and go at every step. By default glibc returns each to the system and takes fresh,
    # zeroed pages for the next; kept in the heap they are re-used.
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
    "MALLOC_TRIM_THRESHOLD_": str(8 * 2**30),
    "MALLOC_TOP_PAD_": str(2**28),
    # Threads of libgomp wait for each other by spinning. Where a training worker and the answerer share the cores that
    # lets both stand still for minutes; a short spin costs a process alone nothing.
    "GOMP_SPINCOUNT": "1000",
    # The hub's client tries a file that breaks off six times, a second apart. With its own 10 s for each, a network that
    # is gone without a word would hold the device for more than a minute; what it has fetched meanwhile counts anew.
    "HF_HUB_DOWNLOAD_TIMEOUT": "2",
    "HF_HUB_ETAG_TIMEOUT": "3",
}


def environment() -> dict[str, str]:
    """Return the environment of processes that compute."""
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    return {**PROCESS, "TOKENIZERS_PARALLELISM": "false", **os.environ, "PYTHONPATH": path, access.OWNER: access.owner()}
