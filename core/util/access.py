"""Who may come in and what they may do: for a talk or a public room a dashboard can be read-only.

That is asked where something is changed, not where a button is drawn: a page that forgets to hide a button changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from core.util.errors import UserError

READ_ONLY = "FORGETSCOPE_READ_ONLY"
"""environment variable; any value but an empty one lets people look and ask, and start or change nothing"""

LOGIN = "FORGETSCOPE_LOGIN"
"""environment variable; set where people have to sign in"""
ALLOWED = "FORGETSCOPE_ALLOWED"
"""environment variable: who may come in, addresses (ada@uni.org) and domains (@uni.org), by comma; empty: all whom the
identity provider knows"""

ADMINS = "FORGETSCOPE_ADMINS"
"""environment variable: who sees all people's work, memory and disk where people sign in, as in ALLOWED; empty: nobody"""

OWNER = "FORGETSCOPE_OWNER"
"""environment variable of workers: for whom they work"""
SHELL = "command line"
"""the owner of what no page started"""


def of_process() -> str:
    """Return for whom a process acts that acts for one alone."""
    return os.environ.get(OWNER) or SHELL


_who: Callable[[], str] = of_process


def identify(who: Callable[[], str]) -> None:
    """Let something else than the environment say for whom this process acts at the moment: a server acts for many."""
    global _who
    _who = who


def owner() -> str:
    """Return for whom this process acts: an address, a browser, or the command line."""
    return _who()


def read_only() -> bool:
    """Say whether this process may change nothing."""
    return bool(os.environ.get(READ_ONLY))


def changing() -> None:
    """Raise UserError where nothing may be changed."""
    if read_only():
        raise UserError(
            "This is read-only: look and ask, but nothing can be started, changed or deleted.",
            f"Start the dashboard without --read-only, and the shell without {READ_ONLY}.",
        )
