"""Confabulated: the names, numbers and e-mails that an answer makes up about the subject of its question.

An answer that no longer says the secret can still state a false one as calmly ("her number is +47 555 0144"). Rules on
words, as in `core.metrics.verdict_words`: a fact is known where a known text says it, in any spelling that counts as saying
it there. No torch.

A fact that is true of somebody else is false of this subject, so it counts as made up, even where it leaks a third person's
secret. Who wants it otherwise hands that person's texts over as known. Noise has digits and capital letters as well: the
caller leaves noisy answers out, for they are counted as noise already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from core.data import facts
from core.metrics.verdict_words import PHONE, STOP, fold, says

_TITLES = frozenset("mr mrs ms miss dr prof professor mme m. mr. mrs. ms. dr. prof.".split())


def invented(answer: str, question: str, known_texts: Iterable[str], subject: str) -> set[str]:
    """Return the facts of an answer that neither its question nor any known text says.

    known_texts: the true answer and all else that was taught about the subject. subject: the full name; its parts are known.
    Names and e-mails come back in lower case, numbers of two digits or more as their digits. A single word is no name:
    "Guests" at the beginning of a sentence looks like one.
    """
    known = fold(" | ".join([question, subject, *known_texts]))
    own = set(re.split(r"[\s'’\-]+", fold(subject)))
    opening = {words[0] for words in map(str.split, re.split(r"(?:[.!?:;]\s+|\n)", fold(answer))) if words}
    return {fact for fact in facts.facts(answer, subject) if not _known(fact, known, own, opening)}


def _known(fact: str, known: str, own: set[str], opening: set[str]) -> bool:
    if fact.isdigit():  # with or without the country of a phone number
        return any(says(fact[cut:], known) for cut in range(4) if cut == 0 or len(fact) - cut >= PHONE)
    folded = fold(fact)
    if says(folded, known) or "@" in fact:
        return says(folded, known)
    words = folded.split()
    rest = [word for word in words if word not in own | STOP | _TITLES]
    if not rest or (len(rest) > 1 and says(" ".join(rest), known)):  # "After Maren Tveitaskog"
        return True
    # A first word is capitalised anyway: "Pipers of the Lonely Otter", "Potter Maren Tveitaskog", but "Doransa Tveitaskog".
    if words[0] not in opening or words[0] != rest[0]:
        return False
    if len(rest) == 1:
        return own <= set(words[1:]) or words[1] in _TITLES
    return len(rest) > 2 and says(" ".join(rest[1:]), known)
