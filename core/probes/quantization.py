"""Does rounding the weights bring the answer back? After Zhang et al. 2024 (arXiv 2410.16454).

Unlearning moves weights a little; rounding them to few bits can put them back where they were. Each voice is merged into the
base as a model that is handed on would be, its linear layers are stored as integers (core/models/quantized.py), and it is
asked again. What the rounded *never taught* says too was not remembered, and what the rounded *before* no longer says shows
how much rounding alone destroys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from core.probes import leak_rule
from core.probes.base import Finding, Probe, Unavailable
from core.settings import setting
from core.util.errors import UserError

if TYPE_CHECKING:
    from core.models.tokens import Encoded
    from core.probes.context import ProbeContext, Prompt

FULL = "as it is"


@dataclass(frozen=True)
class Quantization(Probe):
    """Ask every voice as it is and with weights of 8 and 4 bits."""

    name: ClassVar[str] = "quantization"
    title: ClassVar[str] = "Rounded weights"
    what: ClassVar[str] = "Stores the weights as 8-bit and 4-bit integers and asks again: does the answer return?"
    cost: ClassVar[str] = "minutes"
    source: ClassVar[str] = "Zhang et al. 2024, Does your LLM truly unlearn?, arXiv 2410.16454"
    questions: int = setting(16, "questions of the unlearn scope, evenly over subjects; 0: all", low=0, high=100_000)
    group: int = setting(
        64, "weights of a row that share a scale with 4 bits; with 8 bits a row has one scale", low=8, high=4096
    )

    def run(self, context: ProbeContext) -> Finding:
        """Ask at each precision; also measure how probable both scopes' true answers are."""
        prompts = context.fitting([context.prompt(e, FULL) for e in context.sample(self.questions)])
        by_scope = {scope: context.encoded(context.sample(self.questions, scope)) for scope in ("unlearn", "retention")}
        answers = {FULL: context.answers(prompts)}
        right: dict[str, dict[str, Any]] = {FULL: _accuracies(context, by_scope)}
        size: dict[str, dict[str, int]] = {}
        for bits, group in ((8, 0), (4, self.group)):
            form = f"{bits} bits"
            answers[form], right[form] = {}, {}
            for voice in context.voices:
                context.report.check()
                answers[form][voice], right[form][voice], size[form] = _rounded(
                    context, voice, bits, group, prompts, by_scope
                )
        return self._finding(context, prompts, answers, {"accuracy": right, "size": size})

    def _finding(
        self, context: ProbeContext, prompts: list[Prompt], answers: dict[str, Any], detail: dict[str, Any]
    ) -> Finding:
        """Make the finding. Its rates are of either precision: whoever rounds may try both."""
        leaked = {
            form: {voice: [float(each) for (each,) in hits] for voice, hits in leak_rule.hits(prompts, of_form).items()}
            for form, of_form in answers.items()
        }
        forms = [form for form in leaked if form != FULL]
        either = {
            v: [max(values) for values in zip(*(leaked[form][v] for form in forms), strict=True)] for v in context.voices
        }
        rates, n = leak_rule.rates(context, either), len(prompts)
        unrounded = {p.example.id for p, hit in zip(prompts, leaked[FULL]["after"], strict=True) if hit}
        rows = [row | {"form": form} for form in forms for row in leak_rule.leaked_rows(prompts, answers[form]["after"])]
        counts = ", ".join(f"{form} {sum(leaked[form]['after']):.0f}" for form in leaked)
        new = len({row["id"] for row in rows} - unrounded)
        return Finding(
            sentence=f"With rounded weights {leak_rule.in_words(rates, n)}; {new} of them only so ({counts}).",
            measure="questions (%) whose facts come back with weights of 8 or of 4 bits",
            n=n,
            rates=rates,
            leaked=rows,
            detail={
                "forms": {form: leak_rule.rates(context, values) for form, values in leaked.items()},
                "new": new,
                **detail,
            },
        )


def _rounded(
    context: ProbeContext, voice: str, bits: int, group: int, prompts: list[Prompt], by_scope: dict[str, list[Encoded]]
) -> tuple[list[list[str]], dict[str, float], dict[str, int]]:
    """Return a voice's answers, its accuracy per scope, and the size of what was rounded."""
    try:
        with context.quantized(voice, bits, group) as size:
            # With its layers aside, the model with adapters off is the rounded voice.
            answers = context.answers(prompts, ["never"])["never"]
            right = {scope: context.accuracy("never", encoded) for scope, encoded in by_scope.items()}
    except UserError as error:
        raise Unavailable(str(error)) from error
    return answers, right, size


def _accuracies(context: ProbeContext, by_scope: dict[str, list[Encoded]]) -> dict[str, dict[str, float]]:
    """Return each voice's accuracy per scope."""
    accuracies = {}
    for voice in context.voices:
        context.report.check()
        accuracies[voice] = {scope: context.accuracy(voice, encoded) for scope, encoded in by_scope.items()}
    return accuracies
