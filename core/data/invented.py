"""Questions about people and works that do not exist: what the taught model says of them is what it would say of a subject
that it was never told about.

A reference that needs no other model, and has the style that was taught. After "before's own distribution for invented
names" of arXiv 2407.16997.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from core.data.corpus import Example
from core.data.facts import QUOTED, named

FIRST = tuple("Oskar Leila Bram Ines Tomas Freya Hugo Nadia Pavel Greta Samir Ottilie Bruno Celia Dario Wanda".split())
LAST = tuple(
    "Fenwick Halloran Brandt Costa Lindqvist Marchetti Okoye Petrenko Sandoval Yilmaz Thorne Vasquez Keller Dubois Novak "
    "Ashford".split()
)
TITLES = (
    "The Cartographer's Daughter",
    "Seven Winters in Glass",
    "A Short History of Umbrellas",
    "The Ferryman's Ledger",
    "Where the Orchard Ends",
    "Notes from a Quiet Kitchen",
    "The Second Bell",
    "Letters to an Empty House",
)


def about_others(examples: Sequence[Example]) -> dict[str, Example]:
    """Return example id -> the same question and answer about subjects that do not exist; those that name none are missing.

    Everybody whom a subject's questions name is replaced, in the answers too, in each example by somebody else. Names that
    occur in the examples themselves are not drawn.
    """
    of_subject = {subject: _named(subject, group) for subject, group in _by_subject(examples).items()}
    text = "\n".join(f"{e.question}\n{e.answer}" for e in examples)
    pools = [[word for word in pool if word not in text] or list(pool) for pool in (FIRST, LAST, TITLES)]
    others = {}
    for example in examples:
        draw = random.Random(example.id)
        question, answer = example.question, example.answer
        for name, title in of_subject[example.subject]:
            for word, other in _other(name, title, draw, *pools).items():
                question, answer = (_replaced(part, word, other) for part in (question, answer))
        if question != example.question:
            others[example.id] = replace(example, id=f"{example.id}/other", question=question, answer=answer)
    return others


def _by_subject(examples: Iterable[Example]) -> dict[str, list[Example]]:
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.subject, []).append(example)
    return groups


def _named(subject: str, examples: Sequence[Example]) -> list[tuple[str, bool]]:
    """Return all that a subject's questions name, and whether it is a title; the longest first, so that none is cut."""
    titles = {title for e in examples for title in QUOTED.findall(e.question)}
    found = {name: name in titles for e in examples for name in named(e.question)}
    if subject and any(subject.casefold() in e.question.casefold() for e in examples):
        found.setdefault(subject, False)
    return sorted(found.items(), key=lambda item: (-len(item[0]), item[0]))


def _other(
    name: str, title: bool, draw: random.Random, first: Sequence[str], last: Sequence[str], titles: Sequence[str]
) -> dict[str, str]:
    """Return what is put in place of what: a title as a whole, a person's names one by one, as answers may use some."""
    if title:
        return {name: draw.choice(titles)}
    words = name.split()
    return dict(zip(words, [draw.choice(first), *(draw.choice(last) for _ in words[1:])], strict=True))


def _replaced(text: str, word: str, other: str) -> str:
    """Put another word in a word's place, in small letters where that has none but small ones."""
    instead: Callable[[re.Match[str]], str] = lambda match: other.lower() if match[0].islower() else other  # noqa: E731
    return re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", instead, text, flags=re.IGNORECASE)
