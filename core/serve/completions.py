"""Many prompts to many voices in one batch, each with its own: what an endpoint for programs is made of.

Where `ask` puts every question to every voice, here each prompt names the one that goes on from it. A prompt that cannot be
read, or whose voice is not there, is told of by itself; the others are answered.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from core.config.stages import AnswersConfig
from core.models.generate import Request, Spelling, drawn, stream
from core.models.tokens import conversation_text, ends_of_answer, is_plain, text_ids
from core.serve.messages import Asked, Prompt
from core.util.errors import UserError

if TYPE_CHECKING:
    from core.serve.service import Service


def complete(service: Service, asked: Asked) -> Generator[dict[str, Any]]:
    """Yield the replies to a request (core/serve/client.py). An index is a prompt's place in the request."""
    settings = service.settings(asked.answers)
    speaking, failures = service.speaking(list(dict.fromkeys(prompt.voice for prompt in asked.prompts)))
    silent = {reply["voice"]: reply for reply in failures}
    rows: list[tuple[int, Request]] = []
    for index, prompt in enumerate(asked.prompts):
        if failure := silent.get(prompt.voice):
            yield _problem(index, "voice", failure["what"], failure["fix"])
            continue
        try:
            ids = _ids(service, prompt, settings)
        except UserError as error:
            yield _problem(index, "prompt", error.what, error.fix)
            continue
        draw = drawn(prompt.text or prompt.turns[-1][1]) if prompt.draw is None else prompt.draw
        rows.append((index, Request(ids, speaking[prompt.voice][0], draw)))
    counts = {index: len(request.prompt) for index, request in rows}
    yield {"kind": "start", "tokens": [counts.get(index, 0) for index in range(len(asked.prompts))]}
    began = time.monotonic()
    for first in range(0, len(rows), settings.batch_size):
        yield from _answered(service, asked, settings, rows[first : first + settings.batch_size])
    yield {"kind": "done", "seconds": time.monotonic() - began}


def _answered(
    service: Service, asked: Asked, settings: AnswersConfig, rows: list[tuple[int, Request]]
) -> Generator[dict[str, Any]]:
    """Yield the pieces of some prompts, step by step."""
    began, tokenizer = time.monotonic(), service.loaded.tokenizer
    ends = ends_of_answer(tokenizer, service.config.model.template)
    seed = service.config.seed if asked.seed is None else asked.seed
    spoken = [Spelling(tokenizer) for _ in rows]
    requests = [request for _, request in rows]
    for step in stream(service.adapters, requests, settings, ends=ends, pad=service.pad, seed=seed, top=asked.top):
        pieces = [service.told(p, rows[p.request][0], spoken[p.request], p.token in ends) for p in step]
        yield {"kind": "pieces", "pieces": pieces, "seconds": time.monotonic() - began}


def _ids(service: Service, prompt: Prompt, settings: AnswersConfig) -> tuple[int, ...]:
    """Return a prompt's tokens. Raises UserError where it has none or too many, or no template writes its turns."""
    tokenizer, template = service.loaded.tokenizer, service.config.model.template
    plain = not prompt.turns or is_plain(tokenizer, template)
    text = conversation_text(tokenizer, template, prompt.turns) if prompt.turns else prompt.text
    ids = tuple(text_ids(tokenizer, text, plain=plain))
    if not ids:
        raise UserError("The prompt has no tokens.", "Write something to go on from.")
    if len(ids) + settings.max_new_tokens > service.room:
        raise UserError(
            f"The prompt has {len(ids)} tokens; with {settings.max_new_tokens} for the answer that is more than this model "
            f"reads ({service.room}).",
            "Shorten it, or allow fewer tokens for the answer.",
        )
    return ids


def _problem(index: int, where: str, what: str, fix: str) -> dict[str, Any]:
    return {"kind": "prompt_error", "index": index, "where": where, "what": what, "fix": fix}
