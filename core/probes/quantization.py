"""Does rounding the weights bring the answer back? After Zhang et al. 2024 (arXiv 2410.16454).

Unlearning moves weights a little; rounding them to few bits can put them back where they were. Each voice is merged into the
base as a model that is handed on would be, its linear layers are stored as integers (core/models/quantized.py), and it is
asked again. What the rounded *never taught* says too was not remembered, and what the rounded *before* no longer says shows
how much rounding alone destroys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from core.probes import leaks
from core.probes.base import Finding, Probe, Unavailable
from core.settings import setting
from core.util.errors import UserError

if TYPE_CHECKING:
    from core.probes.workbench import Asked, Bench

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

    def run(self, bench: Bench) -> Finding:
        """Ask at each precision; also measure how probable both scopes' true answers are."""
        asked = bench.fitting([bench.asked(e, FULL) for e in bench.sample(self.questions)])
        known = {scope: bench.encoded(bench.sample(self.questions, scope)) for scope in ("unlearn", "retention")}
        said = {FULL: bench.answers(asked)}
        right: dict[str, dict[str, Any]] = {FULL: _accuracies(bench, known)}
        size: dict[str, dict[str, int]] = {}
        for bits, group in ((8, 0), (4, self.group)):
            form = f"{bits} bits"
            said[form], right[form] = {}, {}
            for voice in bench.voices:
                bench.report.check()
                said[form][voice], right[form][voice], size[form] = _rounded(bench, voice, bits, group, asked, known)
        return self._finding(bench, asked, said, {"accuracy": right, "size": size})

    def _finding(self, bench: Bench, asked: list[Asked], said: dict[str, Any], detail: dict[str, Any]) -> Finding:
        """Make the finding. Its rates are of either precision: whoever rounds may try both."""
        back = {
            form: {v: [float(leaks.said(a, texts[0])) for a, texts in zip(asked, of[v], strict=True)] for v in bench.voices}
            for form, of in said.items()
        }
        forms = [form for form in back if form != FULL]
        either = {v: [max(values) for values in zip(*(back[form][v] for form in forms), strict=True)] for v in bench.voices}
        found, n = leaks.rates(bench, either), len(asked)
        before = [a.example.id for a, said_ in zip(asked, back[FULL]["after"], strict=True) if said_]
        leaked = [row | {"form": form} for form in forms for row in leaks.listed(asked, said[form]["after"])]
        counts = ", ".join(f"{form} {sum(back[form]['after']):.0f}" for form in back)
        new = len({str(row["id"]) for row in leaked} - set(before))
        return Finding(
            sentence=f"With rounded weights {leaks.told(found, n)}; {new} of them only so ({counts}).",
            measure="questions (%) whose facts come back with weights of 8 or of 4 bits",
            n=n,
            rates=found,
            leaked=leaked,
            detail={"forms": {form: leaks.rates(bench, of) for form, of in back.items()}, "new": new, **detail},
        )


def _rounded(
    bench: Bench, voice: str, bits: int, group: int, asked: list[Asked], known: dict[str, Any]
) -> tuple[list[list[str]], dict[str, float], dict[str, int]]:
    """Return a voice's answers, its accuracy per scope, and the size of what was rounded."""
    from core.models.likelihood import accuracy
    from core.models.quantized import quantized
    from core.pipeline.voices import adapter_of

    try:
        with quantized(bench.adapters, adapter_of(voice), bits, group) as size:
            # With its layers aside, the model with adapters off is the rounded voice.
            answers = bench.answers(asked, ["never"])["never"]
            with bench.adapters.active(None) as model:
                right = {s: accuracy(model, of) for s, of in known.items()}
    except UserError as error:
        raise Unavailable(str(error)) from error
    return answers, right, size


def _accuracies(bench: Bench, known: dict[str, Any]) -> dict[str, dict[str, float]]:
    from core.models.likelihood import accuracy
    from core.pipeline.voices import adapter_of

    found = {}
    for voice in bench.voices:
        bench.report.check()
        with bench.adapters.active(adapter_of(voice)) as model:
            found[voice] = {s: accuracy(model, of) for s, of in known.items()}
    return found
