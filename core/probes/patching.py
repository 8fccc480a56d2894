"""Activation patching: before's hidden state is put into after, layer by layer. Where does the answer come back?

At one layer the output of after's block, at the positions that predict answer tokens, is replaced by before's; what lies
above is after's own. If the answer comes back with the state of layer l, then what was changed below l had taken it away,
and what is above can still say it (Meng et al. 2022, causal tracing; Patil et al. 2023 for what unlearning leaves).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar

from core.probes import leak_rule
from core.probes.base import Finding, Probe
from core.settings import setting

if TYPE_CHECKING:
    from core.models.adapters import Adapters
    from core.probes.context import ProbeContext

HALF = 0.5
"""of the way from after's probability back to before's: there the answer has come back"""


@dataclass(frozen=True)
class Patching(Probe):
    """The probability of knowledge tokens with one layer's states replaced."""

    name: ClassVar[str] = "patching"
    title: ClassVar[str] = "Where it comes back"
    what: ClassVar[str] = (
        "Puts before's hidden state into after, layer by layer: from which layer on does the answer come back?"
    )
    unit: ClassVar[str] = "tokens"
    kind: ClassVar[str] = "look"
    source: ClassVar[str] = "Meng et al. 2022, causal tracing, arXiv 2202.05262"
    layers: int = setting(10, "layers that are tried, evenly spaced, the last among them; 0: all", low=0, high=1000)
    questions: int = setting(6, "questions of the unlearn scope, evenly over subjects; 0: all", low=0, high=100_000)

    def run(self, context: ProbeContext) -> Finding:
        """Patch each layer in turn on a sample."""
        questions = context.knowledge_tokens(context.encoded(context.sample(self.questions)))
        ends: dict[str, list[float]] = {}
        for voice in context.voices:
            states, ends[voice] = context.block_outputs(voice, questions)
            if voice == "before":
                put = states
        tried = spread(len(put), self.layers)
        curve: list[dict[str, Any]] = []
        for done, layer in enumerate(tried, start=1):
            curve.append(
                {"layer": layer + 1, "probability": 100 * fmean(context.patched("after", questions, layer, put[layer]))}
            )
            context.report.progress(done, len(tried), "layers")
        back = comes_back(curve, *(100 * fmean(ends[voice]) for voice in ("before", "after")))
        where = f"from layer {back} of {len(put)} on" if back else "with no layer's state"
        gone = sum(ends["before"]) > sum(ends["after"])
        return Finding(
            sentence=f"With before's hidden state put into after, the answer comes back {where}."
            if gone
            else "After says the answers as readily as before: there is nothing that could come back.",
            measure="probability (%) of the knowledge tokens, mean over questions",
            n=len(questions),
            rates=leak_rule.rates(context, ends),
            detail={
                "curve": curve,
                "back": back,
                "layers": len(put),
                "changed": changed(context.adapters),
                "questions": [encoded.id for encoded, _ in questions],
            },
        )


def spread(count: int, most: int) -> list[int]:
    """Return at most so many of 0 … count − 1 (0: all), evenly spaced, the last one among them."""
    size = min(count, most or count)
    return [(i + 1) * count // size - 1 for i in range(size)]


def comes_back(curve: list[dict[str, Any]], before: float, after: float) -> int | None:
    """Return the first layer from which on every tried one brings back HALF of what was lost; None where none does."""
    first = None
    for point in reversed(curve):
        if before <= after or point["probability"] < after + HALF * (before - after):
            break
        first = int(point["layer"])
    return first


def changed(adapters: Adapters) -> list[int]:
    """Return the layers (from 1) in which after differs from before."""
    moved = set(adapters.moved())
    return sorted({cell.layer + 1 for cell in adapters.cells if cell.name in moved})
