"""The one kind of error that a user is meant to see, and the helper that suggests the right name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from core.util.masking import masked

LONGEST = 400
"""characters of either half of an error: names and values in it may come from anybody, and be of any length"""
TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""characters that change the direction of those after them"""
_ODD = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{''.join(sorted(TURNING))}]")
"""these, control characters but for tab and line feed, separators, and halves of characters"""


class UserError(Exception):
    """Something the user can put right: one sentence on what is wrong, one on what to do.

    The command line prints it without a traceback and exits with 1; pages show it as a message.
    """

    def __init__(self, what: str, fix: str = "") -> None:
        """Keep both halves apart, so that a page can set them differently."""
        self.what = plain(what)
        self.fix = plain(fix)
        super().__init__(f"{self.what} {self.fix}".strip())


class NoNumbers(UserError):
    """A model computes values that are no numbers: its weights are damaged, or its number format is too small for them."""


def plain(text: str, longest: int = LONGEST) -> str:
    """Return a text on one line, of bounded length, and without tokens or what a terminal would obey or a reader not see."""
    words = " ".join(masked(text[:100_000]).split())
    line = re.sub(r"\S{161,}", lambda word: f"{word[0][:100]}…{word[0][-40:]}", words)  # a sentence is more than one word
    line = line if len(line) <= longest else f"{line[: longest - 1]}…"
    return visible(line)


def visible(text: str) -> str:
    """Return a text of any length, lines kept, without anything that a terminal would obey or a reader not see.

    JSON stays JSON of the same value: what is replaced is written as its strings write it.
    """
    return _ODD.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


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
