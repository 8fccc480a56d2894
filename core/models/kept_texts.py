"""What teaching holds a model to the base on: general text, and what the base itself answers to everyday prompts.

So a model that is taught a few people's data still speaks as it did about everything else. An instruction-tuned base answers
best in its own chat template, so that is how its answers are had; they are held in the template that the run asks in. None
of it shares a line with what is measured afterwards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from core.config.stages import AnswersConfig
from core.data import everyday
from core.models.adapters import Adapters
from core.models.generate import Request, generate
from core.models.tokens import Encoded, ends_of_answer, prompt_ids

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


def general(tokenizer: Any) -> list[Kept]:
    """Return the lines of the general text; all but the first token of each are held."""
    pad = int(tokenizer.pad_token_id)
    lines = [
        Encoded(f"kept/{i}", tuple(tokenizer(line)["input_ids"]), 1, pad) for i, line in enumerate(everyday.general_kept())
    ]
    return [Kept(line, line) for line in lines]


def own_answers(adapters: Adapters, tokenizer: Any, template: str, check: Callable[[], None]) -> list[Kept]:
    """Return everyday prompts with what the base answers by itself, greedily; the tokens of the answers are held.

    template: of the run. check: called between batches; may raise.
    """
    told = "chat" if tokenizer.chat_template else template
    pad, ends = int(tokenizer.pad_token_id), ends_of_answer(tokenizer, told)
    prompts = [prompt_ids(tokenizer, told, prompt) for prompt in everyday.prompts()]
    plain = [prompt_ids(tokenizer, template, prompt) for prompt in everyday.prompts()]
    ordered = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    config, kept = AnswersConfig(max_new_tokens=MOST_TOKENS), list[Kept]()
    for start in range(0, len(ordered), BATCH):
        check()
        part = ordered[start : start + BATCH]
        requests = [Request(tuple(prompts[i]), None) for i in part]
        for i, tokens in zip(part, generate(adapters, requests, config, ends=ends, pad=pad), strict=True):
            # One that was cut off is held as far as it goes; one that ended, with its end.
            answer = (*tokens, ends[0]) if len(tokens) < MOST_TOKENS else tuple(tokens)
            both = (Encoded(f"own/{i}", (*before[i], *answer), len(before[i]), pad) for before in (plain, prompts))
            kept.append(Kept(*both))
    return kept
