"""Everything that came from a model, a data file or a user passes through here before it is shown.

Such text is hostile until proven otherwise: it must appear as the characters it consists of, in Markdown, in HTML
and in plotly's labels alike.
"""

from __future__ import annotations

import difflib
import functools
import html
import math
import re

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_ARXIV = re.compile(r"arXiv[: ](\d{4}\.\d{4,5})")
_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&^=\"'/@])")


def md(text: object) -> str:
    """Return text that Markdown shows literally, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def cited(text: object) -> str:
    """Return text that Markdown shows literally, its papers as links, which open in a new tab and are marked."""
    # Of three parts the middle one is the number of a paper.
    parts = _ARXIV.split(str(text))
    links = [f"[arXiv {number} ↗](https://arxiv.org/abs/{number})" for number in parts[1::2]]
    return "".join(f"{_spaced(part)}{link}" for part, link in zip(parts[::2], [*links, ""], strict=True))


def _spaced(text: str) -> str:
    """Escape a part of a text, with the blanks at its ends."""
    return md(f"|{text}|")[2:-2]


def chart_text(text: object) -> str:
    """Return text that plotly shows literally; it reads a little HTML in labels."""
    return html.escape(" ".join(str(text).split()), quote=False)


def words(text: str) -> list[str]:
    """Split into words, each with the white space that follows it."""
    return re.findall(r"\S+\s*|\s+", text)


def marked(text: str, other: str, style: str, *, matches: bool = False) -> str:
    """Return a text as escaped HTML in which the words that `other` lacks (or: has too) carry a style."""
    mine, theirs = words(text), words(other)
    matcher = difflib.SequenceMatcher(a=[w.strip() for w in theirs], b=[w.strip() for w in mine], autojunk=False)
    parts = []
    for kind, _, _, start, stop in matcher.get_opcodes():
        piece = "".join(mine[start:stop])
        bare = piece.rstrip()
        if (kind == "equal") != matches or not bare:
            parts.append(html.escape(piece))
        else:
            parts.append(f'<mark style="{style}">{html.escape(bare)}</mark>{piece[len(bare) :]}')
    return "".join(parts)


def match_style(color: str) -> str:
    """Return how words look that another text has too: in the colour of what is kept, for the accent marks what differs."""
    return f"background:{color}33;color:inherit;border-radius:3px;padding:0 1px"


def shorten(text: str, length: int = 90) -> str:
    """Cut a text at a word's end, with an ellipsis."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1].rsplit(" ", 1)[0] + "…"


def duration(seconds: float) -> str:
    """Write seconds as people say them: 48 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@functools.lru_cache(maxsize=2**14)
def number(value: float) -> str:
    """Write a number with three significant digits, tiny ones in powers of ten; a dash for one that was not measured."""
    if not math.isfinite(value):
        return "–"
    if value == 0 or 0.01 <= abs(value) < 10_000:
        return f"{value:.3g}"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa}·10{str(int(exponent)).translate(_RAISED)}"
