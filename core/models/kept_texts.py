"""What a model is held to while it is trained: general text, and what it answered to everyday prompts before.

So a model that is taught a few people's data, or is to forget it, still speaks as it did about everything else. While it
is taught it is held to the base; where that does not come to an end in the template that a run asks in, an instruction-tuned
one does in its chat template: then that answer is held. None of it shares a line with what is measured afterwards.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import torch

from core.config.stages import AnswersConfig
from core.data import everyday
from core.models.adapters import Adapters
from core.models.device import device_of
from core.models.distributed import ALONE, Group
from core.models.generate import Request, generate
from core.models.likelihood import answer_logits, per_example, soft_nll
from core.models.micro_batches import MicroBatches
from core.models.prefix import Prefix
from core.models.references import References
from core.models.tokens import Encoded, collate, cost, ends_of_answer, epochs, is_plain, prompt_ids

MOST_TOKENS = 24
"""of an answer"""
PIECE = 40
"""tokens of a piece of general text"""
BATCH = 64


class Kept(NamedTuple):
    """One text on which a model is held to the base."""

    asked: Encoded
    """as the model reads it"""
    told: Encoded
    """as the reference reads it: the same answer tokens, after a prompt in its own template"""


def fingerprint() -> str:
    """Return the SHA-256 of our own texts and prompts."""
    return hashlib.sha256(json.dumps([everyday.general_kept(), everyday.prompts(), MOST_TOKENS, PIECE]).encode()).hexdigest()


def general(tokenizer: Any, room: int, every: int = 1) -> list[Kept]:
    """Return the general text in pieces of its lines that are no longer than an answer with its question, which they share
    batches with; all but the first token of each are held. room: tokens that the model can read. every: only every so
    many-th piece.
    """
    pad, most = int(tokenizer.pad_token_id), min(PIECE, room)
    lines = [list(tokenizer(line)["input_ids"]) for line in everyday.general_kept()]
    pieces = [ids[at : at + most] for ids in lines for at in range(0, len(ids), most)]
    encoded = [Encoded(f"kept/{i}", tuple(piece), 1, pad) for i, piece in enumerate(pieces[::every]) if len(piece) > 1]
    return [Kept(piece, piece) for piece in encoded]


def own_answers(
    adapters: Adapters,
    tokenizer: Any,
    template: str,
    room: int,
    check: Callable[[], None],
    *,
    voice: str | None = None,
    every: int = 1,
    further: Sequence[Encoded] = (),
) -> list[Kept]:
    """Return everyday prompts with what a voice answers by itself, greedily; the tokens of the answers are held.

    Those that come to an end in the run's own template; of the other prompts, what the base says in its chat template, if it
    has one. template: of the run. room: tokens that the model can read. check: called between batches; may raise.
    voice: an adapter; None: the base. every: see `everyday.prompts`. further: questions that an adapter is asked as well;
    their own answers are not read.
    """
    prompts = everyday.prompts(every)
    asked = [prompt_ids(tokenizer, template, prompt) for prompt in prompts]
    asked += [list(example.ids[: example.start]) for example in further]
    chat = asked
    if voice is None and is_plain(tokenizer, template) and tokenizer.chat_template:
        assert not further
        chat = [prompt_ids(tokenizer, "chat", prompt) for prompt in prompts]
    short = {i for i in range(len(asked)) if max(len(asked[i]), len(chat[i])) + MOST_TOKENS < room}
    ends = ends_of_answer(tokenizer, template)
    own = _answers(adapters, voice, tokenizer, asked, short, ends, check)
    answers = {i: (asked[i], tokens) for i, tokens in own.items()}
    rambling = {i for i, (_, tokens) in answers.items() if len(tokens) == MOST_TOKENS}
    if chat is not asked:
        in_chat = _answers(adapters, voice, tokenizer, chat, rambling, ends_of_answer(tokenizer, "chat"), check)
        answers |= {i: (chat[i], tokens) for i, tokens in in_chat.items()}
    pad, kept = int(tokenizer.pad_token_id), list[Kept]()
    for i, (read, tokens) in answers.items():
        # One that was cut off is held as far as it goes; one that ended, with its end.
        answer = (*tokens, ends[0]) if len(tokens) < MOST_TOKENS else tuple(tokens)
        both = (Encoded(f"own/{i}", (*before, *answer), len(before), pad) for before in (asked[i], read))
        kept.append(Kept(*both))
    return kept


def _answers(
    adapters: Adapters,
    voice: str | None,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    among: Collection[int],
    ends: Collection[int],
    check: Callable[[], None],
) -> dict[int, list[int]]:
    """Return what a voice answers to some of the prompts, by their number."""
    ordered, answers = sorted(among, key=lambda i: (len(prompts[i]), i)), dict[int, list[int]]()
    config, pad = AnswersConfig(max_new_tokens=MOST_TOKENS), int(tokenizer.pad_token_id)
    for start in range(0, len(ordered), BATCH):
        check()
        part = ordered[start : start + BATCH]
        requests = [Request(tuple(prompts[i]), voice) for i in part]
        answers |= dict(zip(part, generate(adapters, requests, config, ends=ends, pad=pad), strict=True))
    return answers


class Anchor:
    """Holds the model that is trained to another one on some texts, a few a step: weight · KL(reference ‖ now)."""

    def __init__(
        self,
        adapters: Adapters,
        voice: str,
        kept: Sequence[Kept],
        weight: float,
        size: int,
        seed: int,
        prefix: Prefix | None = None,
        micro: MicroBatches | None = None,
    ) -> None:
        """Record what the reference says of them. voice: an adapter, or never. size: of these texts in each step.

        prefix: what lies below the region that is trained.
        """
        asked, self._told = [text.asked for text in kept], {text.asked.id: text.told for text in kept}
        self.weight, self.voice, self._prefix = weight, voice, prefix
        self.tokens, self._seen = 0, list[float]()
        self._micro, self._part = micro or MicroBatches(), list[Encoded]()
        self._reference = References(adapters, prefix, self._micro)
        self._next = epochs(asked, size, torch.Generator().manual_seed(seed)) if asked and weight else None
        if self._next:
            self._reference.of(voice, list(self._told.values()))

    def draw(self) -> None:
        """Take the next texts."""
        if self._next is not None:
            self._part = next(self._next)
            self.tokens = len(self._part) * max(len(m.ids) for m in self._part)

    def backward(self, model: Any, group: Group = ALONE) -> None:
        """Add the gradient of these texts' divergence, the mean over texts of the mean over their tokens."""
        mine, seen = group.shard(self._part, cost), list[float]()
        for part in self._micro.cut(mine) if mine else []:
            batch = collate(part, device_of(model))
            reference = self._reference.of(self.voice, [self._told[m.id] for m in part])
            with self._prefix.over(batch) if self._prefix else contextlib.nullcontext():
                logits = answer_logits(model, batch)
            divergence = soft_nll(logits, reference, divergence=True)
            mean = per_example(divergence, batch.owners, len(batch)).sum() / len(self._part)
            (self.weight * mean).backward()
            seen.append(mean.item())
        if seen:
            self._seen.append(sum(seen))

    def moved(self) -> float | None:
        """Return the mean divergence since the last call, in nats a token; None where nothing is kept."""
        seen, self._seen = self._seen, []
        return sum(seen) / len(seen) if seen else None
