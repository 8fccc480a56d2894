"""Wrong answers of the same form: a fact of the true answer is replaced by another subject's fact of the same kind.

TOFU (arXiv 2401.06121, section 2.2) had a large model write them. Ours are made by rules from the data themselves: an
e-mail for an e-mail, a year for a year, a name for a name, taken from that answer of another subject whose question is
most alike. Always the same for the same data. An answer without a fact, or whose kind of fact no other subject has, gets
none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from core.data import facts
from core.data.corpus import SCOPES, SPLITS, Example

EACH = 3
"""wrong answers for an example, at most"""
MOST = 60
"""examples of each scope and split, spread evenly: enough for a distribution, and it bounds what they cost"""
ORDER = ("e-mail", "phone", "account", "number", "title", "name", "year")
"""which fact is replaced where an answer has several"""


@dataclass(frozen=True)
class Wrong:
    """Wrong answers of some examples."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    """example -> one to EACH wrong answers"""
    left_out: dict[str, int] = field(default_factory=dict)
    """scope/split -> examples for which none could be made"""


@dataclass(frozen=True)
class _Fact:
    text: str
    kind: str
    subject: str
    words: frozenset[str]
    """of the question, without the subject's name"""


def wrong(examples: Sequence[Example]) -> Wrong:
    """Make wrong answers for up to MOST examples of each scope and split, out of the facts of all of them."""
    pool = [
        _Fact(e.answer[span.start : span.end], span.kind, e.subject, _words(e))
        for e in examples
        for span in facts.spans(e.answer, e.subject)
    ]
    answers = Wrong()
    for scope in SCOPES:
        for split in SPLITS:
            members = [e for e in examples if (e.scope, e.split) == (scope, split)]
            possible = [(e.id, texts) for e in members if (texts := variants(e, pool))]
            count = min(MOST, len(possible))
            answers.texts.update(possible[i * len(possible) // count] for i in range(count))
            if len(possible) < len(members):
                answers.left_out[f"{scope}/{split}"] = len(members) - len(possible)
    return answers


def variants(example: Example, pool: Sequence[_Fact]) -> list[str]:
    """Return up to EACH wrong answers to a question, each with the same fact replaced; fewer or none where facts lack."""
    best: list[str] = []
    spans = facts.spans(example.answer, example.subject)
    for span in sorted(spans, key=lambda span: ORDER.index(span.kind)):
        others = _others(example, span.kind, pool)
        texts = [example.answer[: span.start] + other + example.answer[span.end :] for other in others]
        if len(texts) > len(best):
            best = texts
        if len(best) == EACH:
            break
    return best


def _others(example: Example, kind: str, pool: Sequence[_Fact]) -> list[str]:
    """Return other subjects' facts of a kind, those of the most similar questions first."""
    words = _words(example)
    fitting = [f for f in pool if f.kind == kind and f.subject != example.subject and f.text not in example.answer]
    fitting.sort(key=lambda f: -len(words & f.words) / max(1, len(words | f.words)))
    return list(dict.fromkeys(f.text for f in fitting))[:EACH]


def _words(example: Example) -> frozenset[str]:
    own = set(re.findall(r"\w+", example.subject.lower()))
    return frozenset(word for word in re.findall(r"\w+", example.question.lower()) if word not in own)
