"""Degenerate answers: forgotten into noise. Empty, repetitive, or made of non-words.

Rules on the text alone, so anybody can check them:
- empty: no letter and no digit;
- repetition: one character six times in a row, two to fifteen characters without a space that follow themselves four
  times or more ("MetaInfoMetaInfoMetaInfoMetaInfo"), or a run of one to four words that does so three times or more
  ("affili affili affili"), or, from eight words on, less than half of the words are different ones;
- non-words: a word of more than forty letters (in scripts that write spaces), or more than a third of the lower-case words,
and two at least, are unknown. Known are the
  words of the data, of the general text, and every word that the tokenizer holds in one piece; capitalised words, numbers
  and e-mails are not judged.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from core.data.facts import EMAIL
from core.data.words import SPACELESS
from core.metrics.base import NOT_RECORDED, Evidence, Metric, Score, averaged

REPEATS = 3
DISTINCT = 0.5
NON_WORDS = 1 / 3
LONGEST = 40
"""letters; the longest words of dictionaries are shorter"""
_UNSPACED = re.compile(f"[{SPACELESS}]")


@dataclass(frozen=True)
class Noise:
    """What the rules look at, as numbers, so that others may draw the lines elsewhere."""

    words: int
    """words of the answer; e-mails are none"""
    empty: bool
    """no word and no e-mail"""
    glued: bool
    """a character six times in a row, or characters without a space that follow themselves four times or more"""
    repeats: int
    """how often a run of one to four words stands in a row, at most; 1 where none follows itself"""
    different: float
    """share of different words, 0 … 1"""
    longest: int
    """letters of the longest word; scripts that write no spaces between words do not count"""
    digits: int
    """digits of the longest number written in one piece"""
    plain: int
    """lower-case words, which can be judged"""
    strange: int
    """of these, how many are unknown; 0 without a lexicon"""


def noise(text: str, lexicon: Collection[str] | None) -> Noise:
    """Measure what makes an answer degenerate. lexicon: lower-case words that count as words; None judges none of them."""
    words = _words(text)
    lower = [word.lower() for word in words]
    plain = [word for word in words if word.isalpha() and word.islower()]
    return Noise(
        len(words),
        not words and not EMAIL.search(text),
        bool(re.search(r"(\w)\1{5}|(\S{1,14}?\w)\2{3}", text)),
        _repeats(lower),
        len(set(lower)) / max(1, len(lower)),
        max((len(word) for word in words if not _UNSPACED.search(word)), default=0),
        max(map(len, re.findall(r"\d+", text)), default=0),
        len(plain),
        0 if lexicon is None else sum(word not in lexicon for word in plain),
    )


def why(noise: Noise, repeats: int = REPEATS, distinct: float = DISTINCT, non_words: float = NON_WORDS) -> str:
    """Return empty, repetition or non-words where one of the lines is crossed, else an empty string."""
    if not noise.words:
        return "empty" if noise.empty else ""
    if noise.glued or noise.repeats >= repeats or (noise.words >= 8 and noise.different < distinct):
        return "repetition"
    if noise.longest > LONGEST or noise.strange > max(1.0, non_words * noise.plain):
        return "non-words"
    return ""


def why_degenerate(text: str, lexicon: Collection[str]) -> str:
    """Return empty, repetition or non-words for a degenerate answer, else an empty string."""
    return why(noise(text, lexicon))


def judged(text: str) -> set[str]:
    """Return the words of a text that must be known, or the text counts as made of non-words."""
    return {word for word in _words(text) if word.isalpha() and word.islower()}


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’\-][^\W_]+)*", EMAIL.sub(" ", text))


def _repeats(words: list[str]) -> int:
    """Return how often a run of one to four words stands in a row, at most."""
    most = 1
    for size in range(1, 5):
        length = 0  # of the words so far that are each the same as the one a unit before
        for index in range(size, len(words)):
            length = length + 1 if words[index] == words[index - size] else 0
            most = max(most, 1 + length // size)
    return most


def compute(evidence: Evidence) -> Score:
    """Return the share of degenerate answers per voice, scope and split."""
    lexicon = evidence.lexicon
    if lexicon is None:
        return Score({}, reasons={"all": f"what counts as a word {NOT_RECORDED}"})
    return averaged(
        evidence,
        {
            voice: {i: 100.0 * bool(why_degenerate(text, lexicon)) for i, text in answers.items()}
            for voice, answers in evidence.answers.items()
        },
    )


DEGENERATE = Metric(
    "degenerate",
    "%",
    "answers that are empty, repeat themselves or consist of non-words: noise, not ignorance",
    "low",
    compute,
)
