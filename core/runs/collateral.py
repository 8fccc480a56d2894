"""What unlearning did to everything else, read from a run's scores: general text and everyday choices, before and after.

It belongs beside the headline: a model that has forgotten how to speak has forgotten what it was to forget as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.runs import asked
from core.runs.scores import Scores, Value
from core.runs.voices import SPOKEN


@dataclass(frozen=True)
class Collateral:
    """General language and general knowledge of each voice that was measured."""

    perplexity: Mapping[str, Value]
    """voice -> perplexity of everyday sentences that belong to neither scope; lower is better"""
    choices: Mapping[str, Value]
    """voice -> everyday multiple-choice questions answered rightly, percent of n; by guessing a quarter"""
    everyday: Mapping[str, Value]
    """voice -> everyday questions that it says the right answer to, percent of the n that the base answers rightly"""

    @property
    def sentence(self) -> str:
        """Say both in one sentence, after beside before; empty where neither was measured of after."""
        parts = [self._text(), self._counted(self.choices, "everyday choices"), self._counted(self.everyday, "said rightly")]
        words = "; ".join(part for part in parts if part)
        return f"{words[0].upper()}{words[1:]}." if words else ""

    def _text(self) -> str:
        after, before = (self.perplexity.get(voice, Value()).value for voice in ("after", "before"))
        if after is None:
            return ""
        return f"general text: perplexity {after:.1f}" + ("" if before is None else f", before {before:.1f}")

    def _counted(self, values: Mapping[str, Value], what: str) -> str:
        after, before = (_count(values.get(voice, Value())) for voice in ("after", "before"))
        if after is None:
            return ""
        asked = values["after"].n
        return f"{what} {after} of {asked}" + ("" if before is None else f", before {before}")


def collateral(scores: Scores) -> Collateral:
    """Return what was measured of general text and choices, with intervals where there are any."""
    examples = scores.examples("choices")
    values = {
        metric: {voice: scores.value(metric, voice, part) for voice in SPOKEN}
        for metric, part in (("general", "text"), ("choices", "questions"), (asked.METRIC, "everyday/known/right"))
    }
    return Collateral(
        {voice: value for voice, value in values["general"].items() if value.value is not None},
        {
            voice: replace(value, n=len(examples[voice]))
            for voice, value in values["choices"].items()
            if value.value is not None and voice in examples
        },
        {voice: value for voice, value in values[asked.METRIC].items() if value.value is not None},
    )


def _count(share: Value) -> int | None:
    return None if share.value is None or share.n is None else round(share.value * share.n / 100)
