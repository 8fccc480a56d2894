"""What unlearning trains on: the examples there are, and which of them each step takes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle, islice

import torch

from core.config.stages import UnlearnConfig
from core.methods.base import FORGET, GENERAL, QUESTION, REFUSAL, RETAIN
from core.models.tokens import Encoded, by_length, epochs, question_of
from core.util.errors import UserError


@dataclass(frozen=True)
class Supply:
    """What the training examples are made of, beyond the two scopes only where a method asks for it."""

    forget: Sequence[Encoded]
    retain: Sequence[Encoded]
    general: Sequence[Encoded] = ()
    """questions and answers about neither scope"""
    refusals: Mapping[str, Encoded] = field(default_factory=dict)
    """forget example -> the same question with a refusal"""
    invented: Mapping[str, Encoded] = field(default_factory=dict)
    """forget example -> the same question and answer about a subject that does not exist; some may have none"""
    words: torch.Tensor | None = None
    """(n,) token ids that random labels are drawn from"""
    earlier: Sequence[Mapping[str, torch.Tensor]] = ()
    """updates of earlier requests, tensor by tensor"""

    def fingerprint(self) -> str:
        """Return the SHA-256 of everything a method may train on."""
        digest = hashlib.sha256()
        named = [[more[key] for key in sorted(more)] for more in (self.refusals, self.invented)]
        for part in (self.forget, self.retain, self.general, *named):
            digest.update(repr([(e.id, e.ids, e.start) for e in part]).encode())
        for update in self.earlier:
            for name in sorted(update):
                digest.update(name.encode() + update[name].float().cpu().numpy().tobytes())
        return digest.hexdigest()

    def check(self, name: str, streams: Sequence[str]) -> None:
        """Raise UserError where a method asks for what is not there."""
        if GENERAL in streams and not self.general:
            raise UserError(f"The method {name} needs general text.", "Name a file with --set data.general=FILE.")
        if REFUSAL in streams and any(e.id not in self.refusals for e in self.forget):
            raise UserError(
                f"The method {name} needs a refusal for every question.",
                "Give one for each forget example: see core/data/refusals.py.",
            )


def streams(supply: Supply, config: UnlearnConfig, source: torch.Generator) -> Iterator[dict[str, list[Encoded]]]:
    """Yield each step's examples for ever: stream -> examples, each stream shuffled and length-bucketed on its own.

    Refusals and questions follow the forget examples of the step; general text comes in batches as large as the retain ones.
    """
    wanted = config.method.streams
    if is_mixed(config):
        yield from _mixed(supply, config, source)
    forget = epochs(supply.forget, config.batch_size, source)
    retain = epochs(supply.retain, config.retain_batch_size, source)
    general = epochs(supply.general, config.retain_batch_size, source) if GENERAL in wanted else None
    for _ in count():
        members = {FORGET: next(forget), RETAIN: next(retain)}
        if general is not None:
            members[GENERAL] = next(general)
        if REFUSAL in wanted:
            members[REFUSAL] = [supply.refusals[m.id] for m in members[FORGET]]
        if QUESTION in wanted:
            members[QUESTION] = [question_of(m) for m in members[FORGET]]
        yield {stream: members[stream] for stream in wanted}


def is_mixed(config: UnlearnConfig) -> bool:
    """Say whether a step's examples are drawn from both scopes together: a method of U alone has nothing to mix."""
    return config.mixed and bool({RETAIN, GENERAL} & {*config.method.streams})


def besides(supply: Supply, config: UnlearnConfig) -> Sequence[Encoded]:
    """Return what a method trains on beside U: the retention scope, or general text; nothing where it is U alone."""
    wanted = config.method.streams
    return supply.general if GENERAL in wanted else supply.retain if RETAIN in wanted else ()


def _mixed(supply: Supply, config: UnlearnConfig, source: torch.Generator) -> Iterator[dict[str, list[Encoded]]]:
    """Yield mixed batches for ever, always in the one order that both scopes were shuffled into.

    So does the released code, with as many examples beside U as U has (zjunlp/KnowUnDo,
    llm_unlearn/utils/ascent_plus_descent_tokenizer.py:33-58; one example at a time, 16 of them a step).
    """
    other = GENERAL if GENERAL in config.method.streams else RETAIN
    pool = [(FORGET, m) for m in supply.forget] + [(other, m) for m in besides(supply, config)[: len(supply.forget)]]
    order = cycle([pool[i] for i in torch.randperm(len(pool), generator=source).tolist()])
    while True:
        drawn = list(islice(order, min(config.batch_size, len(pool))))
        yield {stream: [m for kind, m in drawn if kind == stream] for stream in config.method.streams}


def spread(members: Sequence[Encoded], size: int) -> list[Encoded]:
    """Return `size` of the examples, evenly over their lengths: the same ones for every run on the same data."""
    ordered = [m for group in by_length(members, max(1, len(members))) for m in group]
    return [ordered[i * len(ordered) // size] for i in range(size)] if size < len(ordered) else ordered
