"""Words of a report that would tell what was to be forgotten: found, covered, or left out.

A report that quotes answers quotes secrets. So by default the facts of the unlearn scope's true answers that their
questions do not give away are covered, on screen and on paper, until somebody uncovers them; they are still in the file,
and the file says so. Who was to be forgotten is called by a pseudonym, and no real name is in the file. A redacted report
holds no questions, answers or names at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from core.metrics import verdict_words
from core.metrics.refusal import is_refusal
from core.metrics.verdict_words import STOP
from core.runs import store

WORD = re.compile(r"[^\s“”\"()\[\]{}<>,;:!?…]+")
SHORT = 3
"""letters; shorter capitalised words are a name's beginning or no name"""
COMMON = 0.5
"""rarity, 0 … 1, up to which a word tells nothing: the true answers about several subjects have it (“phone”, “lives”)"""
GLUED = 5
"""letters of a secret from which it is also found inside a longer word"""
LONG_NUMBER = 5
"""digits"""
LEFT_OUT = "(left out)"
GLUING = 0x590
"""first letter behind the scripts of Europe, in which words stand apart"""
OURS = re.compile(r"[a-z][a-z0-9_]*")
"""a key that a program made"""


@dataclass(frozen=True)
class Secrets:
    """What the true answers of the unlearn scope tell."""

    own: Mapping[str, frozenset[str]]
    """example -> the words of its true answer that tell something its question does not give away, in lower case"""
    names: frozenset[str]
    """of all of them, names, numbers and addresses: these tell something in any answer about the unlearn scope"""
    addresses: frozenset[str]
    """of these, e-mail addresses and long numbers: these tell something wherever they stand"""

    def words(self, example: str, scope: str) -> frozenset[str]:
        """Return the words to be covered in the texts of an example."""
        return self.own.get(example, frozenset()) | self.names if scope == "unlearn" else self.addresses

    def covered(self, text: str, example: str, scope: str) -> list[list[Any]]:
        """Cut a text of an example as `pieces` does. An answer that declines says nothing but what names a fact."""
        if scope == "unlearn" and is_refusal(text):
            return pieces(text, self.names)
        return pieces(text, self.words(example, scope))


def secrets(rows: Iterable[Mapping[str, Any]]) -> Secrets:
    """Find what tells something in a run's recorded answers (rows with example, scope, question, subject, truth)."""
    rows = list(rows)
    rarity = verdict_words.rarities([(str(row.get("subject", "")), str(row.get("truth", ""))) for row in rows])
    own: dict[str, frozenset[str]] = {}
    names: set[str] = set()
    for row in rows:
        truth = str(row.get("truth", ""))
        if row.get("scope") != "unlearn" or is_refusal(truth):
            continue
        asked = f"{row.get('question', '')} {row.get('subject', '')}"
        nothing = {_bare(word) for word in WORD.findall(asked)} | STOP - {"may"} | {""}  # which is a month too
        rare = {stem for stem in verdict_words.content(verdict_words.tokens(truth)) if rarity.get(stem, 1.0) > COMMON}
        rare -= verdict_words.content(verdict_words.tokens(asked))
        words = WORD.findall(truth)
        own[str(row.get("example"))] = frozenset(_bare(w) for w in words if _is_fact(w) or _is_rare(w, rare)) - nothing
        # The first word of a sentence is capitalised for that reason only.
        names |= {_bare(word) for word in words[1:] if _is_name(word)} - nothing
    addresses = {word for word in names if "@" in word or sum(c.isdigit() for c in word) >= LONG_NUMBER}
    return Secrets(own, frozenset(names), frozenset(addresses))


def pieces(text: str, words: Collection[str]) -> list[list[Any]]:
    """Cut a text into [piece, is it covered]; joined, the pieces give the text. Neighbours are covered as one."""
    cut: list[list[Any]] = []
    long = [secret for secret in words if len(secret) >= GLUED]
    end = 0
    for match in WORD.finditer(text):
        word = _bare(match[0])
        if word in words or any(secret in word for secret in long):
            between = text[end : match.start()]
            if cut and cut[-1][1] and not between.strip():
                cut[-1][0] += between + match[0]
            else:
                cut += [[between, False], [match[0], True]]
            end = match.end()
    cut.append([text[end:], False])
    return [piece for piece in cut if piece[0]]


def redacted(data: Any, names: Mapping[str, str]) -> Any:
    """Replace names as `renamed` does, and the names in runs' ids: a run's id holds its name, which may be a subject's."""
    return renamed(data, names, store.nameless)


def renamed(data: Any, names: Mapping[str, str], before: Callable[[str], str] = str) -> Any:
    """Replace names where they stand as words in the texts of a value, longest first. before: what is done to each text.

    Keys that hold a name (the subjects of a table) are texts too; those of the report itself are words of a program.
    """
    wanted = {_plain(name): alias for name, alias in names.items() if _plain(name)}
    pattern = _pattern([name for name in names if _plain(name)]) if wanted else None

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key if OURS.fullmatch(key) else clean(key): clean(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [clean(inner) for inner in value]
        if not isinstance(value, str):
            return value
        text = before(value)
        return pattern.sub(lambda match: wanted.get(_plain(match[0]), LEFT_OUT), text) if pattern else text

    return clean(data)


def aliases(subjects: Iterable[str]) -> dict[str, str]:
    """Return subject -> what stands for it in a redacted report."""
    return {name: f"subject {number}" for number, name in enumerate(subjects, 1)}


def pseudonyms(forget: Iterable[str], keep: Collection[str], noun: str) -> dict[str, str]:
    """Return name -> pseudonym of those to be forgotten, "Person A" and on, in their order; the whole name comes first.

    A word of a name stands for all of it, unless somebody who is kept has it too. The words of a title are no names.
    """
    kept = {word.lower() for name in keep for word in name.split()}
    parts: dict[str, str] = {}
    whole: dict[str, str] = {}
    for number, name in enumerate(filter(distinct, forget)):
        whole[name] = f"{noun} {_letters(number)}"
        words = name.split()
        if STOP.isdisjoint(map(str.lower, words)):
            own = [word for word in words if len(word) >= SHORT and word.lower() not in kept]
            parts = dict.fromkeys(own, whole[name]) | parts
    return whole | {word: alias for word, alias in parts.items() if word not in whole}


def real(text: str, names: Mapping[str, str]) -> str:
    """Return a text with the whole names in the place of their pseudonyms, for a model that knows these only."""
    whole: dict[str, str] = {}
    for name, alias in names.items():
        whole.setdefault(alias, name)  # the whole name comes first
    return str(renamed(text, whole))


def _letters(number: int) -> str:
    """Write 0 as A, 25 as Z, 26 as AA."""
    return (_letters(number // 26 - 1) if number > 25 else "") + chr(ord("A") + number % 26)


def distinct(name: str) -> bool:
    """Say whether a name can be replaced wherever it stands; "other", as a nameless subject is called, cannot."""
    bare = name.strip()
    return not bare.isascii() or (len(bare) > 2 and not re.fullmatch(r"[a-z]+", bare))


def _pattern(names: Iterable[str]) -> re.Pattern[str]:
    """Return what finds names as words, longest first, whatever their own words are joined with: hyphens in a file's name,
    say.
    """
    ordered = sorted(names, key=len, reverse=True)
    apart = [_spelled(name) for name in ordered if ord(max(name[0], name[-1])) < GLUING]
    # Scripts without a space between words, or with endings and articles at a name, know no words to look for.
    glued = [_spelled(name) for name in ordered if ord(max(name[0], name[-1])) >= GLUING]
    return re.compile("|".join([*([rf"(?<!\w)(?:{'|'.join(apart)})(?!\w)"] if apart else []), *glued]), re.IGNORECASE)


def _spelled(name: str) -> str:
    return r"[\s_-]+".join(re.escape(word) for word in re.split(r"[\s_-]+", name) if word)  # lower case can be longer


def _plain(text: str) -> str:
    return " ".join(re.split(r"[\s_-]+", text)).strip().lower()


def _bare(word: str) -> str:
    return re.sub(r"['’]s?$", "", word.strip(".'’*_-")).lower()


def _is_fact(word: str) -> bool:
    return any(c.isdigit() or c.isupper() or c == "@" for c in word)


def _is_rare(word: str, rare: Collection[str]) -> bool:
    return any(verdict_words.stem(token) in rare for token in verdict_words.tokens(word))


def _is_name(word: str) -> bool:
    bare = word.strip(".'’*_-")
    return len(bare) > 1 and (any(c.isdigit() or c == "@" for c in bare) or (bare[0].isupper() and len(bare) > SHORT))
