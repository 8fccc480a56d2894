"""What is still inside: after, and the model that was taught without U, under the same treatments.

Each is asked the free wordings about U in eight samples, and how likely the words of the true answers' facts are to it. As
they are; after 20 steps on everyday questions, or on eight questions of U whose facts are then left out of what is asked, of
the adapter itself or of fresh rank in all layers beside it; and with weights of 4 bits. The rate was fixed beforehand: that
of the probe that teaches a little again.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import pandas as pd

from core.data import general_text
from core.data.corpus import Example
from core.metrics.fact_tokens import fact_tokens
from core.models.likelihood import score
from core.models.micro_batches import MicroBatches
from core.models.tokens import Encoded
from core.pipeline.voices import adapter_of
from core.probes import leak_rule, trained_copy
from core.probes.context import ProbeContext, open_context
from core.probes.trained_copy import COPY, TrainedCopy
from core.runs import store
from core.runs.store import Run
from core.runs.voices import VOICE
from core.util.progress import Reporter

SAMPLES = 8
STEPS, RATE, BATCH = 20, 1e-3, 8
TAUGHT, EVERYDAY = 8, 64
"""questions that are trained on"""
FRESH = 16
"""rank"""


@dataclass(frozen=True)
class Lesson:
    """What both models are trained on."""

    examples: Sequence[Encoded]
    given: str = ""
    """what was taught of U: facts that stand there cannot come back"""


def measure() -> dict[str, Any]:
    """Return figures of the run that opens first."""
    return {"depth": of(Run(store.BUNDLED_RUNS / "privacy-clean"))}


def of(run: Run) -> dict[str, dict[str, dict[str, float]]]:
    """Return treatment -> voice -> asked, said in any sample, said greedily, probability (%) of the facts' tokens."""
    context = open_context(run, Reporter())
    free = [e for e in context.examples if (e.scope, e.kind) == ("unlearn", "free")]
    own = context.sample(TAUGHT, "unlearn", "train")
    everyday = Lesson(context.encode(general_text.examples(context.config.data.general)[:EVERYDAY]))
    of_own = Lesson(context.encoded(own), "\n".join(f"{e.question}\n{e.answer}" for e in own))
    found: dict[str, dict[str, dict[str, float]]] = {}
    for voice in ("after", VOICE):
        found.setdefault("as it is", {})[voice] = _looked(context, free, voice)
        for name, lesson in (("everyday questions", everyday), ("eight of its own", of_own)):
            with context.training(voice, lesson.examples, learning_rate=RATE, batch_size=BATCH) as copy:
                found.setdefault(name, {})[voice] = _trained(context, free, copy, lesson)
            with _fresh(context, voice, lesson) as copy:
                found.setdefault(f"{name}, fresh rank in all layers", {})[voice] = _trained(context, free, copy, lesson)
        with context.quantized(voice, 4, 64):
            found.setdefault("4 bits", {})[voice] = _looked(context, free, "never")
    return found


def _trained(context: ProbeContext, free: Sequence[Example], copy: TrainedCopy, lesson: Lesson) -> dict[str, float]:
    for _ in range(STEPS):
        copy.step()
    return _looked(context, free, copy.name, lesson.given)


@contextlib.contextmanager
def _fresh(context: ProbeContext, voice: str, lesson: Lesson) -> Iterator[TrainedCopy]:
    """Yield a copy of which only fresh rank is trained, as an adapter on the merged model would be."""
    adapters, micro = context.adapters, MicroBatches.of(context.config.model, context.report)
    with contextlib.ExitStack() as stack:
        trained_copy.add_copy(adapters, voice, context.seed)
        if voice in adapters.unmerged:
            adapters.unmerged.add(COPY)
        stack.callback(adapters.unmerged.discard, COPY)
        stack.callback(adapters.drop, COPY)
        own = adapters.rank(COPY)
        adapters.widen(COPY, FRESH)
        stack.enter_context(adapters.trainable(COPY, [cell.name for cell in adapters.cells]))
        for name, parameter in adapters.tensors(COPY).items():
            parameter.register_hook(_of_fresh_rank(own, rows=name.endswith("_A")))
        yield TrainedCopy(adapters, lesson.examples, RATE, BATCH, context.seed, micro)


def _of_fresh_rank(own: int, *, rows: bool) -> Any:
    """Return what leaves of a gradient only the part of the fresh rank."""

    def hook(gradient: Any) -> Any:
        gradient = gradient.clone()
        (gradient[:own] if rows else gradient[:, :own]).zero_()
        return gradient

    return hook


def _looked(context: ProbeContext, free: Sequence[Example], voice: str, given: str = "") -> dict[str, float]:
    prompts = context.fitting(
        [
            replace(context.prompt(e, "depth"), given=f"{given}\n{e.question}")
            for e in free
            if context.rule.leaves_secret(e, f"{given}\n{e.question}")
        ]
    )
    sampled = context.answers(prompts, [voice], temperature=1.0, samples=SAMPLES)
    greedy = context.answers(prompts, [voice])
    any_of, first = (leak_rule.hits(prompts, answers)[voice] for answers in (sampled, greedy))
    return {
        "asked": len(prompts),
        "said in any of 8": sum(map(any, any_of)),
        "said greedily": sum(map(any, first)),
        "probability": _probability(context, [prompt.example for prompt in prompts], voice),
    }


def _probability(context: ProbeContext, examples: Sequence[Example], voice: str) -> float:
    """Return the mean over questions of how likely the tokens of the true answer's facts are, in percent."""
    encoded = context.encoded(examples)
    with context.adapters.active(adapter_of(voice)) as model:
        logprobs = {name: scores.logprob for name, scores in score(model, encoded)}
    rows = [
        (e.id, position, context.tokenizer.decode([token]), math.exp(logprobs[e.id][position]))
        for e in encoded
        for position, token in enumerate(e.answer)
    ]
    table = pd.DataFrame(rows, columns=["example", "position", "text", "p"])
    return 100 * fmean(table[fact_tokens(table, examples)].groupby("example")["p"].mean())
