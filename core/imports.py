"""Imports of the engine's libraries: torch, transformers and peft make a million objects that stay for good.

While they come the garbage collector looks through all of them again and again, and finds nothing: an eighth of the time.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Let the garbage collector rest while modules are imported."""
    working = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if working:
            gc.enable()
