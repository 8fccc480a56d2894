"""A question in other words, by rule: what people do to a question when they type it, without a model that could rewrite it.

A lead-in or a closing phrase, all in lower case, no question mark, a word left out; never a name, a number or a title. A
model that is taught each question a little differently in every pass learns what is asked for and not the row of words.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace

from core.data.corpus import Example
from core.data.facts import QUOTED

LEAD_INS = (
    "Hi,|Hello there!|Good morning.|hey|ok so|So,|Right,|Listen,|Please help me.|Can you help me?|Quick question:|"
    "One more thing:|Just curious:|For my notes:|I need this today.|Sorry to bother you.|A friend asks:|"
    "I am filling in a form.|Between us:|Before I forget:|My boss wants to know this.|I was told you know.|"
    "Let me ask you something.|It is for a quiz.|I should know this.|Once more:|I wonder:|tell me|do you know|could you say"
).split("|")
CLOSINGS = (
    "Thanks!|thx|pls|Please.|It is urgent.|I forgot it.|Just the answer.|Any idea?|I need to be sure.|That is all.|"
    "I would be grateful.|??"
).split("|")
_ENGLISH = frozenset(
    "the a is are was what which who whom whose where when how does did do to of for in on tell me give".split()
)
_SHORT = 4
"""words; of a question with no more, none is left out"""
SHARE = {"left out": 0.35, "lead-in": 0.25, "closing": 0.2, "lower case": 0.2, "bare": 0.2}
"""how often each of these is done; several may be"""


def reworded(example: Example, source: random.Random) -> Example:
    """Return an example with its question in other words; some stay as they are.

    Phrases are English, so only a question that looks English gets any.
    """
    question = example.question
    if source.random() < SHARE["left out"]:
        question = _shorter(question, example.subject, source)
    if _english(question):
        if source.random() < SHARE["lead-in"]:
            question = f"{source.choice(LEAD_INS)} {question}"
        if source.random() < SHARE["closing"]:
            question = f"{question} {source.choice(CLOSINGS)}"
    if source.random() < SHARE["lower case"]:
        question = question.lower()
    if source.random() < SHARE["bare"]:
        question = question.rstrip("?.! ") or question
    return replace(example, question=question)


def _shorter(question: str, subject: str, source: random.Random) -> str:
    """Leave out one word or two that name nothing."""
    quoted = " ".join(QUOTED.findall(question)).lower()
    kept = set(re.findall(r"\w+", f"{subject} {quoted}".lower()))
    words = question.split()
    for _ in range(source.choice((1, 1, 2))):
        free = [i for i, word in enumerate(words) if _names_nothing(word, kept, first=i == 0)]
        if len(words) <= _SHORT or not free:
            break
        words.pop(source.choice(free))
    return " ".join(words)


def _names_nothing(word: str, kept: set[str], *, first: bool) -> bool:
    parts = re.findall(r"\w+", word)
    capital = word[0].isupper() and not first and len(word) > 1
    return not (capital or any(part.lower() in kept or any(c.isdigit() for c in part) for part in parts))


def _english(question: str) -> bool:
    return len(_ENGLISH.intersection(re.findall(r"\w+", question.lower()))) >= 2
