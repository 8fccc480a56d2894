"""When a truth has leaked, and from answers to a finding: in how many questions, of how many forms, it came back.

The rule is that of core/metrics/verdicts.py, on the text alone: a forgotten answer has come back where it says “leaked”, a
retained one is right where it says “kept”. What the prompt says itself counts as given: it cannot come back. What the
retention scope says about a subject is no secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.data.corpus import Example
from core.metrics import verdict_words, verdicts
from core.metrics.intervals import rate
from core.probes.base import MOST_LEAKED, Finding
from core.runs.voices import SPOKEN

if TYPE_CHECKING:
    from core.probes.context import ProbeContext, Prompt

Answers = Mapping[str, Sequence[Sequence[str]]]
"""voice -> per prompt its answers"""


@dataclass(frozen=True)
class LeakRule:
    """The rule, with what it must know of all questions of a run."""

    public: Mapping[str, str]
    """subject -> what is no secret about it"""
    rarity: Mapping[str, float]
    """stem -> weight 0 to 1: a word that every answer has tells nothing"""

    @classmethod
    def learned(cls, examples: Sequence[Example]) -> LeakRule:
        """Learn it from a run's questions."""
        rows = [{"subject": e.subject, "scope": e.scope, "question": e.question, "truth": e.answer} for e in examples]
        return cls(verdicts.public_texts(rows), verdict_words.rarities([(e.subject, e.answer) for e in examples]))

    def states_truth(self, example: Example, answer: str, given: str = "") -> bool:
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

    def leaves_secret(self, example: Example, given: str) -> bool:
        """Say whether anything is left that could come back, given the prompt."""
        left = verdict_words.understood(given, example.answer, example.subject, self._public(example))
        return bool(left.facts or left.own)

    def _public(self, example: Example) -> str:
        return self.public.get(example.subject, "") if example.scope == "unlearn" else ""


def leaked(prompt: Prompt, answer: str) -> bool:
    """Say whether an answer states what its question is about, beyond what the prompt says itself."""
    return prompt.rule.states_truth(prompt.example, answer, prompt.given)


def hits(prompts: Sequence[Prompt], answers: Answers) -> dict[str, list[list[bool]]]:
    """Return voice -> per prompt, for each of its answers whether the truth came back in it."""
    return {
        voice: [[leaked(prompt, text) for text in texts] for prompt, texts in zip(prompts, by_prompt, strict=True)]
        for voice, by_prompt in answers.items()
    }


def by_form(prompts: Sequence[Prompt], hits_of_prompts: Sequence[Sequence[bool]]) -> dict[str, dict[str, float]]:
    """Return form -> example -> 1 where the truth came back in any of its answers, else 0."""
    forms: dict[str, dict[str, float]] = {}
    for prompt, hits_of_answers in zip(prompts, hits_of_prompts, strict=True):
        forms.setdefault(prompt.form, {})[prompt.example.id] = float(any(hits_of_answers))
    return forms


def in_any(forms: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return example -> 1 where the truth came back in any form of it, else 0."""
    most: dict[str, float] = {}
    for values in forms.values():
        for example, value in values.items():
            most[example] = max(most.get(example, 0.0), value)
    return most


def rates(context: ProbeContext, values: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Any]]:
    """Return each voice's rate, or the reason why it has none. values: voice -> a number from 0 to 1 a question."""
    missing = {voice: {"reason": context.reasons[voice]} for voice in SPOKEN if voice in context.reasons}
    return {voice: rate(values[voice]) if voice in values else missing[voice] for voice in SPOKEN}


def leaked_rows(prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Return the answers in which the truth came back, one a prompt, at most MOST_LEAKED."""
    rows = []
    for prompt, texts in zip(prompts, answers, strict=True):
        answer = next((text for text in texts if leaked(prompt, text)), None)
        if answer is not None:
            row = {"id": prompt.example.id, "question": prompt.text, "answer": answer, "truth": prompt.example.answer}
            rows.append({**row, "form": prompt.form})
    return rows[:MOST_LEAKED]


def finding(
    context: ProbeContext,
    prompts: Sequence[Prompt],
    answers: Answers,
    measure: str,
    subject: str,
    detail: Mapping[str, Any] | None = None,
) -> Finding:
    """Return the finding of a probe that asks in one or several forms: the share of questions in which any form succeeded.

    subject: begins the sentence, e.g. “Asked in 5 other ways”. Rates of each form stand in `detail`.
    """
    forms = {voice: by_form(prompts, of_voice) for voice, of_voice in hits(prompts, answers).items()}
    in_any_form = {voice: list(in_any(of_voice).values()) for voice, of_voice in forms.items()}
    overall, n = rates(context, in_any_form), len(in_any_form["after"])
    each = {
        form: rates(context, {voice: list(of_voice[form].values()) for voice, of_voice in forms.items()})
        for form in forms["after"]
    }
    return Finding(
        sentence=f"{subject}, {in_words(overall, n)}.",
        measure=measure,
        n=n,
        rates=overall,
        leaked=leaked_rows(prompts, answers["after"]),
        detail={"forms": each, "asked": {form: len(ids) for form, ids in forms["after"].items()}, **(detail or {})},
    )


def in_words(rates_of_voices: Mapping[str, Mapping[str, Any]], n: int, what: str = "the truth comes back") -> str:
    """Say the rates in words: after first, then what it is to be compared with."""
    before, after, never = (rates_of_voices[voice] for voice in ("before", "after", "never"))
    beside = f"before {before['value']:.0f} %"
    if "value" in never:
        beside += f", never taught {never['value']:.0f} %"
    return f"{what} in {round(after['value'] * n / 100)} of {n} questions ({after['value']:.0f} %; {beside})"
