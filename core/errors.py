"""The one kind of error that a user is meant to see, and the helper that suggests the right name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right: one sentence on what is wrong, one on what to do.

    The command line prints it without a traceback and exits with 1; pages show it as a message.
    """

    def __init__(self, what: str, fix: str = "") -> None:
        """Keep both halves apart, so that a page can set them differently."""
        self.what = what.strip()
        self.fix = fix.strip()
        super().__init__(f"{self.what} {self.fix}".strip())


class Cancelled(Exception):
    """The user asked the run to stop; what was finished is kept."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Build the error for a name that does not exist, with the nearest one that does."""
    options = sorted(known)
    lowered = {option.lower(): option for option in options}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    shown = options if len(options) <= 12 else [*options[:12], "…"]
    hint = f"Did you mean “{lowered[close[0]]}”?" if close else ""
    return UserError(f"There is no {kind} “{name}”.", f"{hint} Known: {', '.join(shown)}.".strip())
