"""What teaching holds a model to the base on: general text, and what the base itself answers to everyday prompts.

So a model that is taught a few people's data still speaks as it did about everything else. Where the base does not come to
an end in the template that a run asks in, an instruction-tuned one does in its chat template: then that answer is held. None
of it shares a line with what is measured afterwards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from core.config.stages import AnswersConfig
from core.data import everyday
from core.models.adapters import Adapters
from core.models.generate import Request, generate
from core.models.tokens import Encoded, ends_of_answer, is_plain, prompt_ids

MOST_TOKENS = 24
"""of an answer"""
BATCH = 64


class Kept(NamedTuple):
    """One text on which a model is held to the base."""

    asked: Encoded
    """as the model reads it"""
    told: Encoded
    """as the base reads it: the same answer tokens, after a prompt in its own template"""


def fingerprint() -> str:
    """Return the SHA-256 of our own texts and prompts."""
    return hashlib.sha256(json.dumps([everyday.general_kept(), everyday.prompts(), MOST_TOKENS]).encode()).hexdigest()


def general(tokenizer: Any, room: int) -> list[Kept]:
    """Return the lines of the general text, as far as the model can read; all but the first token of each are held."""
    pad = int(tokenizer.pad_token_id)
    lines = [
        Encoded(f"kept/{i}", tuple(tokenizer(line)["input_ids"][:room]), 1, pad)
        for i, line in enumerate(everyday.general_kept())
    ]
    return [Kept(line, line) for line in lines]


def own_answers(adapters: Adapters, tokenizer: Any, template: str, room: int, check: Callable[[], None]) -> list[Kept]:
    """Return everyday prompts with what the base answers by itself, greedily; the tokens of the answers are held.

    Those that come to an end in the run's own template; of the other prompts, what it says in its chat template, if it has
    one. template: of the run. room: tokens that the model can read. check: called between batches; may raise.
    """
    asked = [prompt_ids(tokenizer, template, prompt) for prompt in everyday.prompts()]
    chat = [prompt_ids(tokenizer, "chat", prompt) for prompt in everyday.prompts()] if tokenizer.chat_template else asked
    short = {i for i in range(len(asked)) if max(len(asked[i]), len(chat[i])) + MOST_TOKENS < room}
    ends = ends_of_answer(tokenizer, template)
    answers = {i: (asked[i], tokens) for i, tokens in _answers(adapters, tokenizer, asked, short, ends, check).items()}
    rambling = {i for i, (_, tokens) in answers.items() if len(tokens) == MOST_TOKENS}
    if chat is not asked and is_plain(tokenizer, template):
        ends_of_chat = ends_of_answer(tokenizer, "chat")
        answers |= {i: (chat[i], t) for i, t in _answers(adapters, tokenizer, chat, rambling, ends_of_chat, check).items()}
    pad, kept = int(tokenizer.pad_token_id), list[Kept]()
    for i, (read, tokens) in answers.items():
        # One that was cut off is held as far as it goes; one that ended, with its end.
        answer = (*tokens, ends[0]) if len(tokens) < MOST_TOKENS else tuple(tokens)
        both = (Encoded(f"own/{i}", (*before, *answer), len(before), pad) for before in (asked[i], read))
        kept.append(Kept(*both))
    return kept


def _answers(
    adapters: Adapters,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    among: Collection[int],
    ends: Collection[int],
    check: Callable[[], None],
) -> dict[int, list[int]]:
    """Return what the base answers to some of the prompts, by their number."""
    ordered, answers = sorted(among, key=lambda i: (len(prompts[i]), i)), dict[int, list[int]]()
    config, pad = AnswersConfig(max_new_tokens=MOST_TOKENS), int(tokenizer.pad_token_id)
    for start in range(0, len(ordered), BATCH):
        check()
        part = ordered[start : start + BATCH]
        requests = [Request(tuple(prompts[i]), None) for i in part]
        answers |= dict(zip(part, generate(adapters, requests, config, ends=ends, pad=pad), strict=True))
    return answers
