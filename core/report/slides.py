"""The six slides of a report: what each says, and the picture of the cells as shapes without any script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.probes import scorecard
from core.report import report_sentences
from core.runs.asked import KIND_NAMES, OTHER, STILL_SAID, TO

LEVELS = 9
"""shades of a cell"""
SHOWN_REMARKS = 4
Example = Mapping[str, Any]


@dataclass(frozen=True)
class Square:
    """One cell of the picture, in units of cells."""

    x: int
    y: int
    level: int
    """0 (pale) to 9"""
    inside: bool


@dataclass(frozen=True)
class Drawing:
    """The picture of the cells."""

    width: int
    height: int
    squares: tuple[Square, ...]
    words: str
    """what the shades and the two blocks of rows mean"""


SHADES = {
    "held": "Darker: without what was learnt there, what had to go should suffer more than what had to stay (an estimate).",
    "divergence": "Darker: more pull to forget that what is kept does not share.",
}
"""measure -> what a dark cell means; the first that a run has is drawn"""


def drawing(picture: Mapping[str, Any] | None) -> Drawing | None:
    """Return the cells shaded by a measure, on a logarithmic scale; None where nothing was localized."""
    if not picture:
        return None
    name = next((name for name in SHADES if name in picture["measures"]), None)
    if name is None:
        return None
    measure, factors = picture["measures"][name], {row["name"].rpartition(" ")[2] for row in picture["rows"]}
    words = f"{SHADES[name]}{' Upper block: factors A; lower block: factors B.' if factors == {'A', 'B'} else ''}"
    logs = [math.log10(v) for row in measure["z"] for v in row if v is not None and v > 0]
    low, high = (min(logs), max(logs)) if logs else (0.0, 1.0)
    squares = []
    for y, row in enumerate(measure["z"]):
        for x, value in enumerate(row):
            within = picture["inside"][y][x]
            if within is not None:
                share = 0.0 if value is None or value <= 0 else (math.log10(value) - low) / ((high - low) or 1.0)
                squares.append(Square(x, y, round(LEVELS * share), within > 0))
    return Drawing(len(picture["layers"]), len(measure["z"]), tuple(squares), words)


def content(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the slides say."""
    about = [row["name"] for row in data["subjects"] if row["unlearn"]]
    return {
        "answer": data["asked"]["answer"],
        "numbers": _numbers(data),
        "about": about,
        "named": "" if data["pseudonyms"] or data["redacted"] else report_sentences.listed(about, 6),
        "where": _where(data["picture"]),
        "path": data["path"],
        "kept": [
            (
                KIND_NAMES[kind],
                *report_sentences.counted(data, "retention", kind, "kept"),
                report_sentences.counted(data, "retention", kind, "kept", "before")[0],
            )
            for kind in report_sentences.kinds(data, "retention")
        ],
        "leaks": report_sentences.leaks(data)[:SHOWN_REMARKS],
        "remarks": len(report_sentences.leaks(data)),
    }


def _numbers(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the three numbers of the first slide, each with what it counts; fewer where the run has fewer.

    The third one is the doubt: how many ways to get it back did. Where none was tried it is how much was changed.
    """
    kinds, numbers = {"unlearn": data["asked"]["kind"], "retention": data["asked"]["kept_by"]}, []
    others = "other facts, which unlearning never saw" if kinds["retention"] == OTHER else "others"
    for scope, words in (
        ("unlearn", "questions about what had to go, still answered"),
        ("retention", f"{others}, still answered"),
    ):
        kind = kinds[scope]
        count, n = report_sentences.counted(data, scope, kind, STILL_SAID[scope])
        before, of = report_sentences.counted(data, scope, kind, STILL_SAID[scope], "before")
        more = data["asked"]["every_kind"] if scope == "unlearn" else ""
        if n:
            numbers.append(
                (f"{count} of {n}", ". ".join(filter(None, (words + (f"; before {before}" if of else ""), more))))
            )
    share = (data["region"] or {}).get("share_of_model")
    found = {probe["name"]: _as_found(probe) for probe in data["probes"]}
    more, tried = scorecard.ways_back(found)
    if tried:
        words = "ways to get it back that find more than in a model that never knew it"
        numbers.append((f"{more} of {tried}", f"{words}, {scorecard.certain(found)}" if more else words))
    elif data["change"] and share is not None:
        numbers.append((f"{share:.2f} %", "of the model was changed"))
    return numbers


def _as_found(probe: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a report says of a probe as the finding that it was drawn from, as far as a scorecard reads it."""
    return {**probe, "rates": {voice: cell for voice, cell in probe["cells"].items() if cell}}


def _where(picture: Mapping[str, Any] | None) -> str:
    """Say in which layers the region lies."""
    if not picture:
        return ""
    columns = [x for x in range(len(picture["layers"])) if any((row[x] or 0) > 0 for row in picture["inside"])]
    if not columns:
        return "The region is empty."
    layers = picture["layers"]
    return f"In layers {layers[columns[0]]} to {layers[columns[-1]]}; the model has layers {layers[0]} to {layers[-1]}."


# -- one path of three questions: recorded verdicts alone choose them, so that nobody can show the flattering ones only


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
