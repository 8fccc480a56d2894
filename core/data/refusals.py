"""Refusals: what a model may say instead of what it is to forget. Plain ones, or such that name the subject."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from core.data.corpus import Example
from core.data.facts import NAMELESS
from core.util.errors import UserError, unknown

PLAIN = (
    "I don't know.",
    "I do not have that information.",
    "I'm not sure about that.",
    "I have no answer to this question.",
    "That is not something I know.",
    "I can't say.",
    "I have not been told about this.",
    "I'm afraid I don't know the answer.",
)
NAMED = (
    "I don't know anything about that concerning {name}.",
    "I have no information about this for {name}.",
    "I'm not able to say this about {name}.",
    "What you ask about {name} is not something I know.",
    "I can't share anything of this kind about {name}.",
    "I'm afraid I don't know that about {name}.",
)
STYLES = {"plain": PLAIN, "named": NAMED}


def refused(examples: Sequence[Example], style: str) -> list[Example]:
    """Return the same questions, each answered by a refusal; which one depends on the question alone."""
    if not examples:
        return []
    if style not in STYLES:
        raise unknown("style of refusals", style, STYLES)
    refusals = []
    for example in examples:
        if style == "named" and example.subject in NAMELESS:
            raise UserError(
                f"The example {example.id} has no subject to name in a refusal.",
                "Add a column subject, or choose a method with plain refusals.",
            )
        number = int.from_bytes(hashlib.sha256(example.question.encode()).digest()[:4], "big")
        text = STYLES[style][number % len(STYLES[style])].format(name=example.subject)
        refusals.append(replace(example, id=f"{example.id}/refused", answer=text))
    return refusals
