"""What was lost next door? The retention questions nearest to each forgotten one, by subject and by common words.

Only questions that unlearning did not train on count: those it did are held in place by its loss, and say nothing of what
happens around them.
Nothing is asked that the run asked already: this reads its recorded answers, and asks only where there are none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from core.probes import leak_rule
from core.probes.base import MOST_LEAKED, Finding, Probe, Unavailable
from core.settings import setting

if TYPE_CHECKING:
    from core.data.corpus import Example
    from core.probes.context import ProbeContext


TRAINED_ON = "train"
"""the split that unlearning learns from (core/pipeline/unlearn.py)"""


@dataclass(frozen=True)
class Neighbours(Probe):
    """Right answers to neighbouring retention questions, beside those to all others."""

    name: ClassVar[str] = "neighbours"
    title: ClassVar[str] = "Next door (neighbours)"
    what: ClassVar[str] = (
        "Retention questions nearest to the forgotten ones that unlearning did not train on: what was lost next door?"
    )
    unit: ClassVar[str] = "kept"
    kind: ClassVar[str] = "look"
    nearest: int = setting(2, "retention questions for each forgotten one", unit="questions", low=1, high=100)
    same_subject: float = setting(
        0.5, "added to the word overlap (0 to 1) of two questions about one subject", low=0.0, high=1.0
    )
    questions: int = setting(0, "questions of the unlearn scope, evenly over subjects; 0: all", low=0, high=100_000)

    def run(self, context: ProbeContext) -> Finding:
        """Compare near with far."""
        pool = [e for e in context.select("retention") if e.split != TRAINED_ON]
        if not pool:
            raise Unavailable("There is no retention question that unlearning did not train on.")
        near = {e.id: self._near(e, pool) for e in context.sample(self.questions)}
        ids = {example.id for nearest in near.values() for example, _ in nearest}
        right = {voice: _right(context, voice, pool) for voice in context.voices}
        parts = {
            "near": [e for e in pool if e.id in ids],
            "far": [e for e in pool if e.id not in ids],
        }
        rates = {
            part: leak_rule.rates(context, {voice: [answered[e.id] for e in members] for voice, answered in right.items()})
            for part, members in parts.items()
            if members
        }
        answers = _answers(context, "after", pool)
        lost = [e for e in parts["near"] if right["before"][e.id] and not right["after"][e.id]]
        return Finding(
            sentence=_sentence(rates, len(lost), len(parts["near"])),
            measure="neighbouring retention questions (%) that unlearning did not train on and that are answered rightly",
            n=len(parts["near"]),
            rates=rates["near"],
            detail={
                "far": rates.get("far"),
                "lost": [
                    {"id": e.id, "question": e.question, "answer": answers[e.id], "truth": e.answer, "form": "next door"}
                    for e in lost[:MOST_LEAKED]
                ],
                "of": {
                    name: [{"id": e.id, "nearness": round(nearness, 3), "lost": e in lost} for e, nearness in nearest]
                    for name, nearest in near.items()
                },
            },
        )

    def _near(self, example: Example, pool: Sequence[Example]) -> list[tuple[Example, float]]:
        """Return the nearest questions of a pool with their nearness, nearest first."""
        scored = [
            (other, overlap(example.question, other.question) + self.same_subject * (other.subject == example.subject))
            for other in pool
        ]
        return sorted(scored, key=lambda pair: -pair[1])[: self.nearest]


def overlap(first: str, second: str) -> float:
    """Return the share (0 to 1) of two texts' different words that both have (Jaccard)."""
    a, b = (set(re.findall(r"\w+", text.lower())) for text in (first, second))
    return len(a & b) / len(a | b) if a | b else 0.0


def _answers(context: ProbeContext, voice: str, pool: Sequence[Example]) -> dict[str, str]:
    """Return a voice's answers: as recorded, else asked now."""
    answers = context.recorded[voice]
    missing = [context.prompt(e, "plain") for e in pool if e.id not in answers]
    if missing:
        asked = context.answers(missing, [voice])[voice]
        answers.update({prompt.example.id: texts[0] for prompt, texts in zip(missing, asked, strict=True)})
    return answers


def _right(context: ProbeContext, voice: str, pool: Sequence[Example]) -> dict[str, float]:
    answers = _answers(context, voice, pool)
    return {e.id: float(context.rule.states_truth(e, answers[e.id])) for e in pool}


def _sentence(rates: Mapping[str, Mapping[str, Any]], lost: int, count: int) -> str:
    near = rates["near"]
    text = (
        f"Next to forgotten questions lie {count} retention questions that unlearning did not train on. Of these {lost} "
        f"were lost: {near['after']['value']:.0f} % are still answered rightly (before {near['before']['value']:.0f} %)"
    )
    if "far" in rates:
        far = rates["far"]
        text += f"; of the others {far['after']['value']:.0f} % (before {far['before']['value']:.0f} %)"
    return f"{text}."
