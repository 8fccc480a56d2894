"""The three questions that the slides show: one that was forgotten, one that was kept, and the doubt.

Recorded verdicts alone choose them, in one place, so that nobody can show the flattering ones only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.runs.asked import KIND_NAMES, STILL_SAID, TO

Example = Mapping[str, Any]


def path(examples: Sequence[Example], forget: str, keep: str) -> list[dict[str, Any]]:
    """Return title, words (how it was chosen) and example of each of the three; nothing where nothing was asked.

    examples: all that were asked, in their order, with scope, kind, verdict_before and verdict_after. forget, keep: the kind
    of question that counts for each scope. Each of the three is the first that came out so; its example is None where none
    did. The doubt is what the largest share of any kind's questions shows: what must go is still said, or what must stay is
    lost.
    """
    if not examples:
        return []
    kinds = [kind for kind in KIND_NAMES if any(e["kind"] == kind for e in examples)]
    doubts = [
        *(_stop("Still said", examples, "unlearn", kind, (True, False), True) for kind in kinds),
        *(_stop("Lost", examples, "retention", kind, (True,), False) for kind in kinds),
    ]
    doubt = max(doubts, key=lambda stop: stop["share"])
    if doubt["example"] is None:
        words = f"None of {len(examples)} questions still says what must go, or lost what must stay."
        doubt = {"title": "No doubt among what was asked", "words": words, "example": None}
    gone = _stop("Said before, not after", examples, "unlearn", forget, (True,), False)
    kept = _stop("Said before and after", examples, "retention", keep, (True,), True)
    return [{key: stop[key] for key in ("title", "words", "example")} for stop in (gone, kept, doubt)]


def _stop(
    title: str, examples: Sequence[Example], scope: str, kind: str, before: tuple[bool, ...], after: bool
) -> dict[str, Any]:
    """Return one of the three. before, after: whether the voice says the fact; before may have several answers to that."""
    asked = [e for e in examples if (e["scope"], e["kind"]) == (scope, kind)]
    fact = STILL_SAID[scope]
    so = [e for e in asked if (e["verdict_before"] == fact) in before and (e["verdict_after"] == fact) is after]
    of = f"of {len(asked)} questions {TO[scope]} ({KIND_NAMES.get(kind, kind)}) came out so"
    return {
        "title": title,
        "words": f"{len(so)} {of}; this is the first." if so else f"None {of}.",
        "example": dict(so[0]) if so else None,
        "share": len(so) / len(asked) if asked else 0.0,
    }
