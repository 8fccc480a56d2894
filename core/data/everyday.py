"""Our own questions and text that belong to no scope: what a model should still know and say after all that is done to it.

Everyday questions have short answers that a rule can judge. The others sound as private as those of the demo, but are about
nobody in it. The general text that is kept is for teaching and unlearning, which hold a model to the base on it; the one
that perplexity is measured on (core/pipeline/voices.py) shares nothing with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.data.corpus import EVERYDAY, NOBODY, Example
from core.util.paths import ASSETS

FOLDER = ASSETS / "data"
OR = " / "
"""between accepted answers, where they are one text"""
_LIST_NUMBER = re.compile(r"^\s*\d+[.)](?=\s|$)", re.MULTILINE)
"""what a list puts before an entry: a small model counts to ten where it was asked for a number"""


@dataclass(frozen=True)
class Asked:
    """A question of our own, and what may be said to it."""

    question: str
    accept: tuple[str, ...] = ()
    """words or phrases of which a right answer says at least one; none where no rule can tell right from wrong"""


def everyday() -> list[Asked]:
    """Return the sixty everyday questions; all of them have accepted answers."""
    return _read("everyday")


def nobody() -> list[Asked]:
    """Return the thirty private-sounding questions about nobody in the demo; only some have accepted answers."""
    return _read("nobody")


def general_kept() -> list[str]:
    """Return the general text on which a model is held to the base, a paragraph an entry; it is never measured on."""
    return [line for line in (FOLDER / "general_kept.txt").read_text(encoding="utf-8").splitlines() if line.strip()]


def examples() -> list[Example]:
    """Return both lists as examples that are only asked; the answer of one names all that is accepted."""
    listed = ((EVERYDAY, everyday()), (NOBODY, nobody()))
    return [
        Example(f"{scope}/{number}", asked.question, OR.join(asked.accept), scope, "", "")
        for scope, questions in listed
        for number, asked in enumerate(questions)
    ]


def is_right(example: Example, answer: str) -> bool:
    """Say of one of these examples whether an answer is right."""
    return right(Asked(example.question, tuple(example.answer.split(OR))), answer)


def prompts(every: int = 1) -> list[str]:
    """Return everyday prompts on whose answers a model is held while it is trained: none of the questions above.

    every: only every so many-th is returned; of those that sound private, four times as many.
    """
    listed = json.loads((FOLDER / "prompts.json").read_text(encoding="utf-8"))
    return [prompt for name, part in listed.items() for prompt in part[:: max(1, every // 4) if name == NOBODY else every]]


def right(entry: Asked, answer: str) -> bool:
    """Say whether an answer has an accepted string in it, as a word and in either case.

    Neither the numbers of a list count nor parts of a longer number or of a word with a hyphen. An answer that goes on is
    right wherever it says the word. Raises ValueError for a question without accepted answers.
    """
    if not entry.accept:
        raise ValueError(f"no rule says what is right: {entry.question}")
    return _says(_LIST_NUMBER.sub("", answer), entry.accept)


def _says(text: str, accepted: Sequence[str]) -> bool:
    words = "|".join(re.escape(word) for word in accepted)
    return re.search(rf"(?<!\w)(?<!\d[.,])(?<![a-z]-)(?:{words})(?!\w)(?![.,]\d)(?!-[a-z])", text, re.IGNORECASE) is not None


def _read(name: str) -> list[Asked]:
    rows = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return [Asked(row["question"], tuple(row.get("accept", ()))) for row in rows]
