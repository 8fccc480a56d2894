"""Logit lens: what each layer would say, were it the last. Is what after does not say unsaid, or gone?

Each block's output at the positions that predict answer tokens goes through the model's own final norm and output layer
(nostalgebraist 2020, "interpreting GPT: the logit lens"). Early layers speak another language than the last one, so a low
probability there says little; a true token that comes first in the middle and not at the end was held back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar

from core.probes import leaks
from core.probes.base import Finding, Probe, Unavailable
from core.settings import setting

if TYPE_CHECKING:
    import torch

    from core.models.adapters import Adapters
    from core.models.tokens import Encoded
    from core.probes.workbench import Bench


@dataclass(frozen=True)
class LogitLens(Probe):
    """Over knowledge tokens: those that before says rightly and the never-taught model does not."""

    name: ClassVar[str] = "lens"
    title: ClassVar[str] = "Unsaid or gone"
    what: ClassVar[str] = (
        "Reads every layer as if it were the last: do inner layers still hold what the model no longer says?"
    )
    kind: ClassVar[str] = "look"
    source: ClassVar[str] = "nostalgebraist 2020; Patil et al. 2023, arXiv 2309.17410"
    questions: int = setting(6, "questions of the unlearn scope, evenly over subjects; 0: all", low=0, high=100_000)
    maps: int = setting(3, "questions whose map of layers and answer tokens is kept", low=0, high=100)

    def run(self, bench: Bench) -> Finding:
        """Read all layers of all voices on a sample."""
        known = knowledge(bench, bench.encoded(bench.sample(self.questions)))
        found = {voice: _layers(bench, voice, known) for voice in bench.voices}
        first = {voice: [(ranks == 1).any(0).float().mean().item() for _, ranks in of] for voice, of in found.items()}
        outcome = leaks.rates(bench, first)
        said, unsaid, gone = (fmean(values) for values in zip(*(_kinds(ranks) for _, ranks in found["after"]), strict=True))
        curves = {
            voice: [
                {
                    "layer": layer + 1,
                    "probability": 100 * fmean([logprobs[layer].exp().mean().item() for logprobs, _ in of]),
                    "first": 100 * fmean([(ranks[layer] == 1).float().mean().item() for _, ranks in of]),
                    "rank": _median([ranks[layer] for _, ranks in of]),
                }
                for layer in range(len(of[0][0]))
            ]
            for voice, of in found.items()
        }
        return Finding(
            sentence=f"Of the answer tokens that {'only the taught model knew' if 'never' in found else 'before says'}, "
            f"after still says {said:.0f} %, holds {unsaid:.0f} % "
            f"in some layer without saying them, and {gone:.0f} % come first in no layer.",
            measure="knowledge tokens (%, mean over questions) whose true token comes first in at least one layer",
            n=len(known),
            rates=outcome,
            detail={
                "curve": curves,
                "after": {"said": said, "unsaid": unsaid, "gone": gone},
                "questions": [member.id for member, _ in known],
                "maps": [self._map(bench, member) for member, _ in known[: self.maps]],
            },
        )

    def _map(self, bench: Bench, member: Encoded) -> dict[str, Any]:
        """Return one question's layers and answer tokens, before and after."""
        bench.report.check()
        found = maps(bench.adapters, member, ("before", "after"))
        question = next(e.question for e in bench.examples if e.id == member.id)
        words = [bench.tokenizer.decode([token], clean_up_tokenization_spaces=False) for token in member.answer]
        return {"id": member.id, "question": question, "tokens": words, "before": found[0], "after": found[1]}


def _median(ranks: Sequence[torch.Tensor]) -> float:
    import torch

    return float(torch.cat(list(ranks)).float().median())


def _kinds(ranks: torch.Tensor) -> tuple[float, float, float]:
    """Return the percentages of tokens said, held in some layer but not said, and first in no layer. ranks: (layers, N)."""
    first = ranks == 1
    said, held = first[-1], first.any(0)
    return tuple(100 * mask.float().mean().item() for mask in (said, held & ~said, ~held))  # type: ignore[return-value]


def knowledge(bench: Bench, sample: Sequence[Encoded]) -> list[tuple[Encoded, list[int]]]:
    """Return the questions that have knowledge tokens, and their places in the answer. Raises Unavailable where none has."""
    from core.models.likelihood import score
    from core.pipeline.voices import adapter_of

    ranks: dict[str, dict[str, list[int]]] = {}
    for voice in [voice for voice in ("before", "never") if voice in bench.voices]:
        bench.report.check()
        with bench.adapters.active(adapter_of(voice)) as model:
            scores = score(model, sample)
            ranks[voice] = {name: found.rank for name, found in scores}
    places = [
        (
            m,
            [
                i
                for i, rank in enumerate(ranks["before"][m.id])
                if rank == 1 and ("never" not in ranks or ranks["never"][m.id][i] > 1)
            ],
        )
        for m in sample
    ]
    if not any(at for _, at in places):
        raise Unavailable("Before says nothing of the answers that the model which was never taught would not say as well.")
    return [(m, at) for m, at in places if at]


def _layers(bench: Bench, voice: str, known: Sequence[tuple[Encoded, list[int]]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return per question log-probability and rank of its knowledge tokens at every layer: two (layers, tokens)."""
    from core.models.tokens import collate
    from core.pipeline.voices import adapter_of
    from core.probes import layers

    found, device = [], bench.adapters.device
    tail = layers.lens_of(bench.adapters, collate([known[0][0]], device))
    done = list(bench.voices).index(voice) * len(known)
    for start in range(0, len(known), SIZE):
        bench.report.check()
        part = known[start : start + SIZE]
        batch = collate([m for m, _ in part], device)
        states, _ = layers.watched(bench.adapters, adapter_of(voice), batch)
        for (member, (mine, true)), (_, at) in zip(
            layers.pieces(batch.members, states.transpose(1, 2), batch.targets), part, strict=True
        ):
            assert len(true) == len(member.answer)
            found.append(layers.read(tail, mine.transpose(1, 2)[:, at], true[at]))
        done += len(part)
        bench.report.progress(done, len(known) * len(bench.voices), "questions")
    return found


SIZE = 8
"""questions of one pass: all their layers are kept"""


def maps(adapters: Adapters, encoded: Encoded, voices: Sequence[str | None]) -> list[dict[str, Any]]:
    """Return per voice (an adapter, None for the base) {"logprob", "rank"}: lists of layers × answer tokens, for one
    question.

    Raises Unavailable for a model whose layers cannot be read so.
    """
    from core.models.tokens import collate
    from core.probes import layers

    batch, found = collate([encoded], adapters.device), []
    tail = layers.lens_of(adapters, batch)
    for voice in voices:
        states, _ = layers.watched(adapters, voice, batch)
        logprobs, ranks = layers.read(tail, states, batch.targets)
        rounded = [[round(value, 3) for value in line] for line in logprobs.tolist()]
        found.append({"logprob": rounded, "rank": ranks.tolist()})
    return found
