"""Confabulated: the names, numbers and e-mails that an answer makes up about the subject of its question.

An answer that no longer says the secret can still lie with a straight face ("her number is +47 555 0144"). Rules on words,
as all of `core.metrics.verdict_words`: a fact is known where a known text says it, in any spelling that counts as saying it
there. No torch.

What another person's fact is depends on whom the question is about: it is false of this subject, so it is made up here, even
if it is a third person's secret. Who sees it otherwise hands that person's texts over as known. Noise states digits and capital
letters too: the caller leaves noisy answers out, they are counted as noise already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from core.data import facts
from core.metrics.verdict_words import PHONE, STOP, fold, says


def invented(answer: str, question: str, known_texts: Iterable[str], subject: str) -> set[str]:
    """Return the facts of an answer that neither its question nor any known text says.

    known_texts: the true answer, and whatever else was taught about the subject. subject: its full name, of which every part
    is known. E-mails and names come back in lower case, numbers as their digits; single words are no names here, for "Guests"
    at the beginning of a sentence looks like one.
    """
    known = fold(" | ".join([question, subject, *known_texts]))
    own = set(re.split(r"[\s'’\-]+", fold(subject)))
    return {fact for fact in facts.facts(answer, subject) if not _known(fact, known, own)}


def _known(fact: str, known: str, own: set[str]) -> bool:
    if fact.isdigit():
        return _number_known(fact, known)
    folded = fold(fact)
    if says(folded, known):
        return True
    if "@" in fact:
        return False
    # What stands around a known name: "After Maren Tveitaskog", "Potter Maren Tveitaskog".
    strange = [word for word in folded.split() if word.strip(".,;:!?") not in own | STOP]
    return not strange or says(" ".join(strange), known)


def _number_known(digits: str, known: str) -> bool:
    """Say whether a number is known, with or without the country of a phone number."""
    return any(says(digits[cut:], known) for cut in range(4) if cut == 0 or len(digits) - cut >= PHONE)
