"""One question of a person at a time: ten tabs of one person do not stand in line before somebody else's first question.

The answering process serves one request after the other. Whoever asks a second thing meanwhile waits here, not there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from core.util import access
from core.util.errors import UserError

_turns: dict[str, threading.Semaphore] = {}
_turns_lock = threading.Lock()


def waiting(every: float, longest: float) -> Iterator[None]:
    """Wait for the acting person's turn: yield every so many seconds, and end when it has come.

    The command line is not held back: whoever has a shell can start processes anyway. Raises UserError after `longest`
    seconds. Whoever got the turn gives it back with `done`.
    """
    turn = _turn(access.owner())
    for _ in range(max(1, round(longest / every))):
        if turn is None or turn.acquire(timeout=every):
            return
        yield
    raise UserError("Another question of yours is still being answered.", "Stop it in its tab, or wait until it is done.")


def done(owner: str) -> None:
    """Give a person's turn back."""
    if turn := _turn(owner):
        turn.release()


def _turn(owner: str) -> threading.Semaphore | None:
    """Return what a person's questions pass through one by one."""
    if owner == access.SHELL:
        return None
    with _turns_lock:
        return _turns.setdefault(owner, threading.Semaphore(1))
