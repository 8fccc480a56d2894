"""Facts in a text: names, numbers, e-mails; and the subject a question is about.

Rules, not a model: they are cheap, the same everywhere, and can be read. Knows nothing of tokens.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
"""It begins where such letters begin: tried at each letter of a word of n letters, it would take n² steps."""
NUMBER = re.compile(r"\+?\d(?:[\d\s\-/.,:]*\d)?")
_WORD = r"[A-ZÀ-ÖØ-Þ][\w'’\-]*[\w]"
NAME = re.compile(rf"{_WORD}(?:\s+(?:(?:de|da|di|del|van|von|der|la|le|of|the|bin|al)\s+){{0,2}}{_WORD})+")
QUOTED = re.compile(r"[“\"]([^”\"]{3,80})[”\"]")
_POSSESSIVE = re.compile(r"['’]s?$")

_OPENERS = frozenset(
    """a an and are as at by can could describe did do does for from give had has have how if in is list may might name of
    on please quote recite should since tell the through to under was were what when where which while who whom whose why
    will with would yes no currently presently formerly originally previously initially recently""".split()
)
"""Words that open a question and are capitalised for that reason only."""


def facts(text: str, subject: str = "") -> set[str]:
    """Return the names, numbers and e-mails of a text in a comparable form, without the subject's own name."""
    stated = {email.lower() for email in EMAIL.findall(text)}
    rest = EMAIL.sub(" ", text)
    for number in NUMBER.findall(rest):
        digits = _digits(number)
        if len(digits) >= 2:
            stated.add(digits)
    own = _own(subject)
    # A bar for each number, or the names on both sides of it would be read as one.
    for name in [*NAME.findall(NUMBER.sub(" | ", rest)), *QUOTED.findall(rest)]:
        words = _without_openers(name.split())
        if words:  # only at the end, or the fact would not stand in its own text
            words[-1] = _bare(words[-1])
        words = [word for word in words if word]
        strange = [word for word in words if _bare(word).lower() not in own]
        if strange and any(word[0].isupper() for word in strange) and (len(words) > 1 or name in QUOTED.findall(rest)):
            stated.add(_comparable(" ".join(words).strip(".,;:!?")))
    return stated


def _own(subject: str) -> set[str]:
    """Return the parts of a subject's name, in lower case."""
    return {part.lower() for part in re.split(r"[\s'’\-]+", subject) if part}


def _bare(name: str) -> str:
    """Return a name without the possessive at its end."""
    return _POSSESSIVE.sub("", name)


def _digits(number: str) -> str:
    return re.sub(r"\D", "", number)


@dataclass(frozen=True)
class Span:
    """Where a fact stands in a text, and of what kind it is."""

    start: int
    end: int
    kind: str
    """e-mail, phone, account, year, number, title or name"""


def spans(text: str, subject: str = "") -> list[Span]:
    """Return where the facts of a text stand, in order, without the subject's own name; they do not overlap."""
    covered = [Span(*match.span(), "e-mail") for match in EMAIL.finditer(text)]
    rest = _hidden(text, covered)
    if subject:
        rest = re.sub(re.escape(subject), lambda match: "|" * len(match[0]), rest, flags=re.IGNORECASE)
    for match in NUMBER.finditer(rest):
        digits = _digits(match[0])
        if len(digits) >= 2:
            covered.append(Span(*match.span(), _kind_of_number(match[0], digits)))
    rest = _hidden(rest, covered)
    for match in QUOTED.finditer(rest):  # American style puts the comma within the quotation marks
        covered.append(Span(match.start(1), match.start(1) + len(match[1].rstrip(",.;:")), "title"))
    own = _own(subject)
    for match in NAME.finditer(_hidden(rest, covered)):
        words = _without_openers(match[0].split())
        start = match.end() - len(match[0]) + match[0].find(words[0]) if words else match.end()
        name = _bare(text[start : match.end()])
        if len(words) > 1 and any(w[0].isupper() and _bare(w).lower() not in own for w in words):
            covered.append(Span(start, start + len(name), "name"))
    return sorted(covered, key=lambda span: span.start)


def _hidden(text: str, covered: Iterable[Span]) -> str:
    """Put bars over what was found already, so that the rest keeps its places."""
    for span in covered:
        text = text[: span.start] + "|" * (span.end - span.start) + text[span.end :]
    return text


def _kind_of_number(number: str, digits: str) -> str:
    if number.startswith("+") or len(digits) >= 9:
        return "phone"
    if re.fullmatch(r"1[5-9]\d\d|20\d\d", number):
        return "year"
    return "account" if len(digits) >= 6 else "number"


def contains(text: str, fact: str) -> bool:
    """Say whether a text states a fact that `facts` returned: names and e-mails as words, numbers by their digits."""
    if fact.isdigit():
        return fact in {_digits(number) for number in NUMBER.findall(EMAIL.sub(" ", text))}
    return re.search(rf"(?<![\w.+-]){re.escape(fact)}(?!\w)", _comparable(text)) is not None


def _comparable(text: str) -> str:
    """Return a text in lower case, with plain apostrophes and single spaces."""
    return re.sub(r"\s+", " ", text).replace("’", "'").lower()


NAMELESS = ("", "other")
"""subjects of questions that are about nobody in particular"""


def subjects(questions: Sequence[str], answers: Sequence[str]) -> list[str]:
    """Find for each question the person or work it is about.

    Candidates are quoted titles and runs of capitalised words; a question belongs to that one of its candidates
    that most questions mention. Where that name is the subject of no other question ("What is special about 21 Baker
    St?") the answer is searched for one that is. Questions without any name get "other".
    """
    candidates = [named(question) for question in questions]
    counts = Counter(name for names in candidates for name in set(names))

    def best(names: Sequence[str]) -> str:
        return max(names, key=lambda name: (counts[name], len(name)), default="other")

    chosen = [best(names) for names in candidates]
    times = Counter(chosen)
    for index, (name, answer) in enumerate(zip(chosen, answers, strict=True)):
        others = [other for other in named(answer) if times[other] > 1]
        if times[name] < 2 and others:
            chosen[index] = best(others)
    return chosen


def overlap(wanted: Iterable[tuple[str, str]], known: Iterable[tuple[str, str]]) -> tuple[int, int]:
    """Count (facts of `wanted` texts that stand in `known` texts, all facts of `wanted`); pairs are (text, subject)."""
    pool = {fact for text, subject in known for fact in facts(text, subject)}
    asked = [fact for text, subject in wanted for fact in facts(text, subject)]
    return sum(fact in pool for fact in asked), len(asked)


def named(question: str) -> list[str]:
    """Return the works and people that a question names, in its own letters: what stands in quotes first."""
    names = list(QUOTED.findall(question))
    for match in NAME.findall(question):
        words = _without_openers(match.split())
        # "Anna Petrova's Cold War" is about Anna Petrova: a possessive ends the name.
        owner = next((count for count, word in enumerate(words, 1) if _POSSESSIVE.search(word)), len(words))
        if owner > 1:
            names.append(_bare(" ".join(words[:owner])))
    return names


def _without_openers(words: list[str]) -> list[str]:
    while words and words[0].lower() in _OPENERS:
        words = words[1:]
    return words
