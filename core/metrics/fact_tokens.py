"""Which tokens of a true answer carry its facts: the e-mail, the street, not "lives at". Rules on text alone; no torch.

Facts are those by which answers are judged (core/metrics/verdict_words.py): e-mails, numbers, names, titles and capitalised
words that the question does not give away and that the retention scope does not say.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from core.data.corpus import Example
from core.metrics import verdict_words, verdicts

if TYPE_CHECKING:
    import pandas as pd

AHEAD = 4
"""characters that may lie between two tokens: blanks that a tokenizer swallows, letters that it cuts into bytes"""


def fact_tokens(
    tokens: pd.DataFrame, examples: Sequence[Example], unended: Collection[str] = frozenset()
) -> pd.Series[bool]:
    """Say of each answer token whether it belongs to a fact; tokens: example, position, text, in any order.

    The end token, the last of each example but those that are `unended`, never does. Tokens of examples that are not among
    `examples` do not either.
    """
    import pandas as pd

    by_id = {example.id: example for example in examples}
    public = verdicts.public_texts(
        [{"subject": e.subject, "scope": e.scope, "question": e.question, "truth": e.answer} for e in examples]
    )
    marks = pd.Series(False, index=tokens.index)
    for name, rows in tokens.sort_values("position", kind="stable").groupby("example", sort=False):
        example = by_id.get(str(name))
        if example is None:
            continue
        secret = public[example.subject] if example.scope == "unlearn" else ""
        spans = fact_spans(example, secret)
        words = rows["text"] if name in unended else rows["text"][:-1]
        places = token_places(example.answer, [str(text) for text in words])
        for index, (start, end) in zip(rows.index, places, strict=False):
            marks[index] = any(start < other_end and other < end for other, other_end in spans)
    return marks


def fact_spans(example: Example, public: str = "") -> list[tuple[int, int]]:
    """Return where in a true answer its facts stand. public: folded texts whose facts are no secret."""
    truth = verdict_words.understood(example.question, example.answer, example.subject, public)
    return [
        match.span()
        for fact in truth.facts
        for match in re.finditer(rf"(?<!\w){re.escape(fact.shown)}(?!\w)", example.answer)
    ]


def token_places(text: str, pieces: Sequence[str]) -> list[tuple[int, int]]:
    """Return where each token stands in a text, from what each decodes to alone.

    A token that is part of a letter decodes to a replacement sign: it stands for the one letter at its place.
    """
    places, cursor = list[tuple[int, int]](), 0
    for piece in pieces:
        bare = piece.strip("\ufffd \n\t")
        at = text.find(bare, cursor, cursor + len(piece) + AHEAD) if bare else -1
        places.append((at, at + len(bare)) if at >= 0 else (cursor, cursor + 1))
        cursor = at + len(bare) if at >= 0 else cursor
    return places
