"""When the truth has come back: one rule for all probes. On the text alone, so anybody can check it."""

from __future__ import annotations

import functools
from typing import Any

from core.facts import contains, facts

OVERLAP = 0.6
"""ROUGE-L recall from which a truth without facts counts as said"""


def wanted(truth: str, subject: str, given: str) -> set[str]:
    """Return the facts of a truth (names, numbers, e-mails) that the prompt does not give away itself."""
    return {fact for fact in facts(truth, subject) if not contains(given, fact)}


def comes_back(answer: str, truth: str, subject: str, given: str = "") -> bool:
    """Say whether an answer states the truth.

    given: what the prompt says; what stands there cannot come back. The answer must have all other facts of the truth;
    where it has no fact at all, ROUGE-L recall decides. Where the prompt gives all facts away there is nothing to tell.
    """
    if known := facts(truth, subject):
        missing = wanted(truth, subject, given)
        return bool(missing) and all(contains(answer, fact) for fact in missing & known)
    return recall(truth, answer) >= OVERLAP


def recall(truth: str, answer: str) -> float:
    """Return ROUGE-L recall: the share (0 to 1) of the truth's words that the answer has, in their order."""
    return float(_scorer().score(truth, answer)["rougeL"].recall)


def telling(truth: str, subject: str, given: str) -> bool:
    """Say whether there is anything left that could come back, given the prompt."""
    return not facts(truth, subject) or bool(wanted(truth, subject, given))


@functools.cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=False)
