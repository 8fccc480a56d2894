"""What teaching holds a model to the base on: general text, and what the base itself answers to everyday prompts.

So a model that is taught a few people's data still speaks as it did about everything else. Neither shares a line with what
is measured afterwards.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from core.data import everyday
from core.models.adapters import Adapters
from core.models.generate import Request, generate
from core.models.tokens import Encoded, prompt_ids
from core.pipeline.voices import Voices

MOST_TOKENS = 48
"""of an answer"""


def fingerprint() -> str:
    """Return the SHA-256 of our own texts and prompts."""
    return hashlib.sha256(json.dumps([everyday.general_kept(), everyday.prompts(), MOST_TOKENS]).encode()).hexdigest()


def general(voices: Voices) -> list[Encoded]:
    """Return the lines of the general text; all but the first token of each are held."""
    lines = enumerate(everyday.general_kept())
    return [Encoded(f"kept/{i}", tuple(voices.tokenizer(line)["input_ids"]), 1, voices.pad) for i, line in lines]


def own_answers(voices: Voices, adapters: Adapters) -> list[Encoded]:
    """Return everyday prompts with what the base answers by itself, greedily; the tokens of the answers are held."""
    template, answers = voices.config.model.template, list[Encoded]()
    prompts = [prompt_ids(voices.tokenizer, template, prompt) for prompt in everyday.prompts()]
    ordered = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    config: Any = voices.greedy(MOST_TOKENS)
    for start in range(0, len(ordered), config.batch_size):
        voices.report.check()
        part = ordered[start : start + config.batch_size]
        requests = [Request(tuple(prompts[i]), None) for i in part]
        for i, tokens in zip(part, generate(adapters, requests, config, ends=voices.ends, pad=voices.pad), strict=True):
            if tokens:
                answers.append(Encoded(f"own/{i}", (*prompts[i], *tokens), len(prompts[i]), voices.pad))
    return answers
