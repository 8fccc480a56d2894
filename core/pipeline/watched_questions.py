"""Questions that are asked again at every checkpoint: a few to watch, so that one can read how forgetting goes, and a sample
that a checkpoint is picked by.

The questions are the same for every run on the same data. Answers are greedy: they draw no random number, so looking
on changes nothing about what is learnt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from core.config.stages import AnswersConfig
from core.data import facts
from core.data.corpus import SCOPES, Corpus, Example
from core.metrics import asked
from core.models.adapters import Adapters
from core.models.generate import Request, generate
from core.pipeline.voices import Voices

ROOM = 4
"""tokens that a watched answer may have more than the longest true one"""


def choose(corpus: Corpus, count: int, split: str) -> list[Example]:
    """Return `count` questions of each scope, spread evenly over the subjects; fewer where there are no more.

    Of a subject's questions the one with the shortest answer that states a fact (a number, a name, an e-mail) comes
    first: it shows most for the least time.
    """
    chosen = []
    for scope in SCOPES:
        by_subject: dict[str, list[Example]] = {}
        for example in corpus.select(scope, split):
            by_subject.setdefault(example.subject, []).append(example)
        for subject, examples in by_subject.items():
            examples.sort(key=lambda e: (not facts.facts(e.answer, subject), len(e.answer)))
        turns = [
            e
            for turn in zip_longest(*(by_subject[subject] for subject in sorted(by_subject)))
            for e in turn
            if e is not None
        ]
        chosen += turns[:count] if count > len(by_subject) else [turns[i * len(by_subject) // count] for i in range(count)]
    return chosen


class Watch:
    """The chosen questions, ready to be asked."""

    def __init__(self, examples: Sequence[Example], voices: Voices, config: AnswersConfig) -> None:
        """Answers end a little after the longest true one. Each token costs a pass over the model: of whole answers a
        fifth of unlearning was spent on these.
        """
        self.examples, self.voices = examples, voices
        longest = max(len(voices.encoded[e.id].answer) for e in examples)
        self.config = dataclasses.replace(
            config, temperature=0.0, max_new_tokens=min(voices.answers.max_new_tokens, longest + ROOM)
        )

    def ask(self, adapters: Adapters) -> list[dict[str, Any]]:
        """Let adapter "after", as it is now, answer all of them in one batch: example, scope, question, text."""
        requests = [Request(self.voices.prompt(e), "after") for e in self.examples]
        answers = generate(adapters, requests, self.config, ends=self.voices.ends, pad=self.voices.pad)
        return [
            {"example": e.id, "scope": e.scope, "question": e.question, "text": self._text(tokens)}
            for e, tokens in zip(self.examples, answers, strict=True)
        ]

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self.voices.tokenizer.decode(tokens, skip_special_tokens=True)).strip()


def said(voices: Voices, adapters: Adapters, lexicon: frozenset[str]) -> dict[str, float]:
    """Ask adapter "after" a sample; return in percent what becomes of it.

    said_forgotten (of U, not said), said_kept (of R, said), said_noise_unlearn, said_noise_retention, said_declined (of R),
    said_made_up (of U), and how many were asked.
    """
    return asked.shares(voices.examples, voices.ask(adapters, ["after"], greedy=True)["after"], lexicon)
