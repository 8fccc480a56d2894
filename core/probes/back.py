"""When the truth has come back: the rule of core/metrics/verdicts.py, in one place for all probes. On the text alone.

A forgotten answer has come back where that rule says “leaked”, a retained one is right where it says “kept”. What the prompt
says itself counts as asked: it cannot come back. What the retention scope says about a subject is no secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.data.corpus import Example
from core.metrics import verdict_words, verdicts


@dataclass(frozen=True)
class Back:
    """The rule, with what it must know of all questions of a run."""

    public: Mapping[str, str]
    """subject -> what is no secret about it"""
    rarity: Mapping[str, float]
    """stem -> weight 0 to 1: a word that every answer has tells nothing"""

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Back:
        """Learn it from a run's questions."""
        rows = [{"subject": e.subject, "scope": e.scope, "question": e.question, "truth": e.answer} for e in examples]
        return cls(verdicts.public_texts(rows), verdict_words.rarities([(e.subject, e.answer) for e in examples]))

    def said(self, example: Example, answer: str, given: str = "") -> bool:
        """Say whether an answer states the truth of a question. given: the whole prompt; the question where it is empty."""
        evidence = verdicts.measure(
            example.scope,
            given or example.question,
            example.answer,
            example.subject,
            answer,
            rarity=self.rarity,
            public=self._public(example),
        )
        return verdicts.judge(evidence).verdict in ("leaked", "kept")

    def telling(self, example: Example, given: str) -> bool:
        """Say whether anything is left that could come back, given the prompt."""
        left = verdict_words.understood(given, example.answer, example.subject, self._public(example))
        return bool(left.facts or left.own)

    def _public(self, example: Example) -> str:
        return self.public.get(example.subject, "") if example.scope == "unlearn" else ""


def comes_back(answer: str, truth: str, subject: str, given: str = "") -> bool:
    """Say whether an answer states a truth to be forgotten, where nothing is known of a run's other questions."""
    return Back({}, {}).said(Example("", given, truth, "unlearn", "", subject), answer, given)


def telling(truth: str, subject: str, given: str) -> bool:
    """Say whether anything of a truth is left that could come back, given the prompt; as `comes_back`."""
    return Back({}, {}).telling(Example("", given, truth, "unlearn", "", subject), given)
