"""From answers to a finding: in how many questions, of how many forms, the truth came back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.metrics.intervals import rate
from core.probes.base import MOST_LEAKED, Finding
from core.runs.voices import SPOKEN

if TYPE_CHECKING:
    from core.probes.workbench import Asked, Bench

Answers = Mapping[str, Sequence[Sequence[str]]]
"""voice -> per prompt its answers"""


def said(asked: Asked, answer: str) -> bool:
    """Say whether an answer states what its question is about, beyond what the prompt says itself."""
    return asked.rule.said(asked.example, answer, asked.given)


def counts(asked: Sequence[Asked], answers: Answers) -> dict[str, list[list[bool]]]:
    """Return voice -> per prompt, for each of its answers whether the truth came back in it."""
    return {
        voice: [[said(one, text) for text in texts] for one, texts in zip(asked, of, strict=True)]
        for voice, of in answers.items()
    }


def by_forms(asked: Sequence[Asked], hits: Sequence[Sequence[bool]]) -> dict[str, dict[str, float]]:
    """Return form -> example -> 1 where the truth came back in any of its answers, else 0."""
    found: dict[str, dict[str, float]] = {}
    for one, of in zip(asked, hits, strict=True):
        found.setdefault(one.form, {})[one.example.id] = float(any(of))
    return found


def in_any(by_form: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return example -> 1 where the truth came back in any form of it, else 0."""
    found: dict[str, float] = {}
    for of in by_form.values():
        for name, value in of.items():
            found[name] = max(found.get(name, 0.0), value)
    return found


def rates(bench: Bench, values: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Any]]:
    """Return each voice's rate, or the reason why it has none. values: voice -> a number from 0 to 1 a question."""
    missing = {voice: {"reason": bench.reasons[voice]} for voice in SPOKEN if voice in bench.reasons}
    return {voice: rate(values[voice]) if voice in values else missing[voice] for voice in SPOKEN}


def listed(asked: Sequence[Asked], answers: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Return the answers in which the truth came back, one a prompt, at most MOST_LEAKED."""
    found = []
    for one, texts in zip(asked, answers, strict=True):
        answer = next((text for text in texts if said(one, text)), None)
        if answer is not None:
            row = {"id": one.example.id, "question": one.text, "answer": answer, "truth": one.example.answer}
            found.append({**row, "form": one.form})
    return found[:MOST_LEAKED]


def finding(
    bench: Bench,
    asked: Sequence[Asked],
    answers: Answers,
    measure: str,
    subject: str,
    detail: Mapping[str, Any] | None = None,
) -> Finding:
    """Return the finding of a probe that asks in one or several forms: the share of questions in which any form succeeded.

    subject: begins the sentence, e.g. “Asked in 5 other ways”. Rates of each form stand in `detail`.
    """
    hits = counts(asked, answers)
    by_form = {voice: by_forms(asked, of) for voice, of in hits.items()}
    any_of = {voice: list(in_any(of).values()) for voice, of in by_form.items()}
    found = rates(bench, any_of)
    forms = {
        form: rates(bench, {voice: list(of[form].values()) for voice, of in by_form.items()}) for form in by_form["after"]
    }
    n = len(any_of["after"])
    return Finding(
        sentence=f"{subject}, {told(found, n)}.",
        measure=measure,
        n=n,
        rates=found,
        leaked=listed(asked, answers["after"]),
        detail={"forms": forms, "asked": {form: len(of) for form, of in by_form["after"].items()}, **(detail or {})},
    )


def told(found: Mapping[str, Mapping[str, Any]], n: int, what: str = "the truth comes back") -> str:
    """Say the rates in words: after first, then what it is to be compared with."""
    count = round(found["after"]["value"] * n / 100)
    beside = f"before {found['before']['value']:.0f} %"
    if "value" in found["never"]:
        beside += f", never taught {found['never']['value']:.0f} %"
    return f"{what} in {count} of {n} questions ({found['after']['value']:.0f} %; {beside})"
