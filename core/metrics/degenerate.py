"""Degenerate answers: forgotten into noise. Empty, repetitive, or made of non-words.

Rules on the text alone, so anybody can check them:
- empty: no letter and no digit;
- repetition: one character six times in a row, two to fifteen characters without a space that follow themselves four
  times or more ("MetaInfoMetaInfoMetaInfoMetaInfo"), or a run of one to four words that does so three times or more
  ("affili affili affili"), or, from eight words on, less than half of the words are different ones;
- non-words: a word of more than forty letters, or more than a third of the lower-case words are unknown. Known are the
  words of the data, of the general text, and every word that the tokenizer holds in one piece; capitalised words, numbers
  and e-mails are not judged.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from core.facts import EMAIL
from core.metrics.base import NOT_RECORDED, Evidence, Metric, Score, averaged

REPEATS = 3
DISTINCT = 0.5
NON_WORDS = 1 / 3
LONGEST = 40
"""letters; the longest words of dictionaries are shorter"""


def why_degenerate(text: str, lexicon: Collection[str]) -> str:
    """Return empty, repetition or non-words for a degenerate answer, else an empty string."""
    words = _words(text)
    if not words:
        return "" if EMAIL.search(text) else "empty"
    if re.search(r"(\w)\1{5}|(\S{1,14}?\w)\2{3}", text):
        return "repetition"
    lower = [word.lower() for word in words]
    if _repeats(lower) or (len(lower) >= 8 and len(set(lower)) < DISTINCT * len(lower)):
        return "repetition"
    if any(len(word) > LONGEST for word in words):
        return "non-words"
    plain = [word for word in words if word.isalpha() and word.islower()]
    strange = [word for word in plain if word not in lexicon]
    return "non-words" if len(strange) > max(1.0, NON_WORDS * len(plain)) else ""


def judged(text: str) -> set[str]:
    """Return the words of a text that must be known, or the text counts as made of non-words."""
    return {word for word in _words(text) if word.isalpha() and word.islower()}


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’\-][^\W_]+)*", EMAIL.sub(" ", text))


def _repeats(words: list[str]) -> bool:
    for size in range(1, 5):
        for start in range(len(words) - size * REPEATS + 1):
            unit = words[start : start + size]
            if all(words[start + k * size : start + (k + 1) * size] == unit for k in range(1, REPEATS)):
                return True
    return False


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
