"""What unlearning did to everything else, read from a run's scores: general text and everyday choices, before and after.

It belongs beside the headline: a model that has forgotten how to speak has forgotten what it was to forget as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.runs.scores import Scores, Value
from core.runs.voices import VOICES


@dataclass(frozen=True)
class Collateral:
    """General language and general knowledge of each voice that was measured."""

    perplexity: Mapping[str, Value]
    """voice -> perplexity of everyday sentences that belong to neither scope; lower is better"""
    choices: Mapping[str, Value]
    """voice -> everyday multiple-choice questions answered rightly, percent of n; by guessing a quarter"""

    @property
    def sentence(self) -> str:
        """Say both in one sentence, after beside before; empty where neither was measured of after."""
        parts = [self._text(), self._questions()]
        words = "; ".join(part for part in parts if part)
        return f"{words[0].upper()}{words[1:]}." if words else ""

    def _text(self) -> str:
        after, before = (self.perplexity.get(voice, Value()).value for voice in ("after", "before"))
        if after is None:
            return ""
        return f"general text: perplexity {after:.1f}" + ("" if before is None else f", before {before:.1f}")

    def _questions(self) -> str:
        after, before = (_count(self.choices.get(voice, Value())) for voice in ("after", "before"))
        if after is None:
            return ""
        asked = self.choices["after"].n
        return f"everyday choices {after} of {asked}" + ("" if before is None else f", before {before}")


def collateral(scores: Scores) -> Collateral:
    """Return what was measured of general text and choices, with intervals where there are any."""
    examples = scores.examples("choices")
    values = {
        metric: {voice: scores.value(metric, voice, part) for voice in VOICES}
        for metric, part in (("general", "text"), ("choices", "questions"))
    }
    return Collateral(
        {voice: value for voice, value in values["general"].items() if value.value is not None},
        {
            voice: replace(value, n=len(examples[voice]))
            for voice, value in values["choices"].items()
            if value.value is not None and voice in examples
        },
    )


def _count(share: Value) -> int | None:
    return None if share.value is None or share.n is None else round(share.value * share.n / 100)
