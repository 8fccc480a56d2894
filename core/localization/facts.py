"""Which answer tokens of encoded examples carry facts: core/metrics/fact_tokens.py, for tokens that no run has recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from core.data.corpus import Example
from core.metrics.fact_tokens import fact_tokens

if TYPE_CHECKING:
    from core.models.tokens import Encoded

Flags = dict[str, tuple[bool, ...]]
"""example -> of each of its answer tokens, its end token included, whether it belongs to a fact"""


def fact_flags(tokenizer: Any, examples: Sequence[Example], encoded: Sequence[Encoded]) -> Flags:
    """Mark the tokens of `encoded`. In a scope without any fact, all tokens but the ends count as one.

    examples: of both scopes, since what R says is no fact of U.
    """
    import pandas as pd

    rows = [
        {"example": e.id, "position": i, "text": tokenizer.decode([token])}
        for e in encoded
        for i, token in enumerate(e.answer)
    ]
    unended = {e.id for e in encoded if not e.ended}
    marks = fact_tokens(pd.DataFrame(rows), examples, unended).tolist()
    flags, start = Flags(), 0
    for e in encoded:
        flags[e.id] = tuple(marks[start : start + len(e.answer)])
        start += len(e.answer)
    scope_of = {example.id: example.scope for example in examples}
    with_facts = {scope_of[i] for i, flagged in flags.items() if any(flagged)}
    return {i: f if scope_of[i] in with_facts else (*[True] * (len(f) - 1), i in unended) for i, f in flags.items()}
