"""Which words of an answer count as words: those of a lexicon, of an English word list, and what is made of these.

English has forms without end ("weaner", "unlisted", "easylist"), and a model's vocabulary holds the frequent ones only; a
non-word is what cannot be taken apart into known ones either. A word of another language has to stand in the lexicon, which
has all words of the data and of the vocabulary. The list is SCOWL's of size 60; rare words of size 70 ("alumina") are known,
but nothing is made of them (assets/words). No model, no torch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from core.metrics.verdict_words import STOP
from core.util.paths import ASSETS

_ENDINGS = tuple(
    """s es ed d ing er r ers ly al less ness ful able ability ation ations ist ists ism ship hood dom ish like ity ic ment
    ized izing ised""".split()
)
_INFLECTIONS = ("s", "es", "d", "ed", "ing", "g")
"""what a word may lack: of “nosed” it is s, of “blowin'” g"""
_BEGINNINGS = tuple(
    """un non re over under out mis dis pre sub super inter anti semi co counter fore eco socio cyber astro bio circum geo
    mega micro multi neo neuro photo proto pseudo tele ultra""".split()
)
_PARTS = frozenset(_BEGINNINGS) | frozenset("del della den der des van von und los las ibn bint".split())
"""what is no word, but stands before a hyphen, or within names"""
_LITTLE = STOP - frozenset("down up over out off under after".split())
"""words that stand in no compound: "thealamas" is no compound with "the", "countdown" is one with "down" """
_SHORT, _STEM = 3, 4
"""letters of a part of a compound, of which one has more; letters that a stem has at least"""


def known(words: Iterable[str], lexicon: frozenset[str]) -> set[str]:
    """Return those of some lower-case words that stand in a lexicon or in the English list, or are made of words that do."""
    return {word for word in words if word in lexicon or english(word) or any(stem in lexicon for stem in _inflected(word))}


@functools.lru_cache(maxsize=65536)
def english(word: str) -> bool:
    """Say whether a lower-case word is English, or made of words that are."""
    return word in _list() or word in _list("english_rare.txt") or word in _PARTS or _made(word, _list())


@functools.cache
def _list(name: str = "english.txt") -> frozenset[str]:
    return frozenset((ASSETS / "words" / name).read_text(encoding="utf-8").split())


def _made(word: str, lexicon: frozenset[str]) -> bool:
    return (
        any(word + ending in lexicon for ending in _INFLECTIONS)
        or any(stem in lexicon for stem in _stems(word))
        or any(rest in lexicon for rest in _rests(word))
        or _compound(word)
    )


def _inflected(word: str) -> list[str]:
    """Return what a word is a form of, for words that no dictionary need hold: of “zzitherns” zzithern."""
    return [word.removesuffix(end) for end in _INFLECTIONS if word.endswith(end) and len(word) - len(end) >= _STEM]


def _rests(word: str) -> list[str]:
    """Return what is left of a word without a beginning: of “unlisted” listed."""
    return [word.removeprefix(b) for b in _BEGINNINGS if word.startswith(b) and len(word) - len(b) >= _STEM]


def _stems(word: str) -> set[str]:
    """Return what is left of a word without an ending: of “stopped” stopp and stop, of “folklorist” folklore."""
    bare = {word.removesuffix(ending) for ending in _ENDINGS if word.endswith(ending)}
    doubled = {stem[:-1] for stem in bare if stem[-2:-1] == stem[-1:]}
    return {stem for stem in bare | doubled | {f"{stem}e" for stem in bare} if len(stem) >= _STEM}


def _compound(word: str) -> bool:
    """Say whether a word is two different English ones in one, "hilltop"; a vocabulary also holds beginnings of words."""
    lexicon = _list()
    for cut in range(_SHORT, len(word) - _SHORT + 1):
        parts = word[:cut], word[cut:]
        if max(map(len, parts)) <= _SHORT or _LITTLE.intersection(parts) or parts[0] == parts[1] or _past(parts[0]):
            continue
        if parts[0] in lexicon and (parts[1] in lexicon or parts[1].removesuffix("s") in lexicon):
            return True
    return False


def _past(word: str) -> bool:
    """Say whether a word is a past form, which begins no compound: "workedout" is none."""
    return word.endswith("ed") and not _list().isdisjoint(_stems(word))
