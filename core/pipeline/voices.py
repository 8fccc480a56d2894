"""What the voices of a run say: before, after, and the base that was never taught.

Scores true answers token by token, and lets each voice answer in its own words. The stages preflight, answers and
evaluate are made of this.
"""

from __future__ import annotations

import copy
import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from core.config.run_config import RunConfig
from core.config.stages import KNOWUNDO, AnswersConfig
from core.data.corpus import Example
from core.models.adapters import Adapters
from core.models.distributed import ALONE, Group
from core.models.generate import Request, drawn, generate
from core.models.likelihood import TokenScores, score
from core.models.loading import Loaded
from core.models.tokens import Encoded, cost, encode_all, encode_later, ends_of_answer, prompt_ids
from core.util import paths
from core.util.errors import UserError
from core.util.progress import Reporter


def adapter_of(voice: str) -> str | None:
    """Return the adapter that speaks as a voice; the never-taught voice is the base without any."""
    return None if voice == "never" else voice


def general_lines() -> list[str]:
    """Return the general text, a line an entry."""
    return [
        line for line in (paths.ASSETS / "data" / "general.txt").read_text(encoding="utf-8").splitlines() if line.strip()
    ]


def as_scored(tokenizer: Any, config: RunConfig, examples: Sequence[Example], *, any_length: bool = False) -> list[Encoded]:
    """Encode examples as a run scores them: behind its preface, as far as scoring sees. Raises UserError if too long.

    any_length: examples of ours may be longer than the data's, but are cut where the template cuts.
    """
    asked = [dataclasses.replace(e, question=as_asked(config, e.question)) for e in examples]
    data, template = config.data, config.model.template
    most = sys.maxsize if any_length and template != KNOWUNDO else data.max_tokens
    return encode_later(tokenizer, template, asked, most, data.later_tokens)


def as_asked(config: RunConfig, question: str) -> str:
    """Return a question as a run asks it: behind its preface."""
    return f"{config.evaluate.preface}\n{question}" if config.evaluate.preface else question


def without_ends(config: RunConfig) -> dict[str, bool]:
    """Return what recorded.json says where true answers are scored without their end token; nothing elsewhere."""
    return {"ended": False} if config.model.template == KNOWUNDO else {}


class Voices:
    """Tokenizer and examples of a run, with everything that is recorded about a voice."""

    def __init__(
        self,
        loaded: Loaded,
        examples: Sequence[Example],
        config: RunConfig,
        report: Reporter,
        group: Group = ALONE,
        besides: Sequence[Example] = (),
    ) -> None:
        """Encode the examples. Raises UserError for one that is too long. group: the processes that share what is asked.

        besides: questions that are asked as well, and not scored.
        """
        self.besides = besides
        self.tokenizer, self.examples, self.config, self.report = loaded.tokenizer, examples, config, report
        self.group = group
        self.ends, self.pad = ends_of_answer(self.tokenizer, config.model.template), int(self.tokenizer.pad_token_id)
        self.room = int(getattr(loaded.model.config, "max_position_embeddings", None) or 2**20)
        """tokens that the model can read"""
        self.given: dict[str, Encoded] = {e.id: e for e in self.encode(examples)}
        """example -> its tokens, as it is taught"""
        self.encoded: dict[str, Encoded] = self.given
        """example -> its tokens, as it is scored"""
        if config.evaluate.preface or config.model.template == KNOWUNDO:
            self.encoded = {e.id: e for e in self._readable(as_scored(self.tokenizer, config, examples))}
        self._left = self.room - max((example.start for example in self.encoded.values()), default=0)
        """tokens that the model can read after the longest question"""

    def of(self, examples: Sequence[Example]) -> Voices:
        """Return the voices over some of the examples, with nothing besides, and silent about their progress."""
        some = copy.copy(self)
        some.examples, some.besides, some.report = examples, (), Reporter()
        some.encoded = {e.id: self.encoded[e.id] for e in examples}
        some.given = {e.id: self.given[e.id] for e in examples}
        return some

    @property
    def answers(self) -> AnswersConfig:
        """How the voices answer: an answer ends where the model can read no further, the same for every question."""
        c = self.config.answers
        return dataclasses.replace(c, max_new_tokens=min(c.max_new_tokens, self._left))

    def within(self) -> dict[str, str]:
        """Return example -> its true answer, as far as an answer may be long."""
        most = self.answers.max_new_tokens
        return {
            e.id: self.tokenizer.decode(self.encoded[e.id].answer[:most], skip_special_tokens=True)
            if len(self.encoded[e.id].answer) > most
            else e.answer
            for e in self.examples
        }

    def encode(self, examples: Sequence[Example], *, later: bool = False) -> list[Encoded]:
        """Encode examples. Raises UserError for one that is too long, for the settings or for the model.

        later: as unlearning sees them, and not as they are taught.
        """
        template, data = self.config.model.template, self.config.data
        if later:
            encoded = encode_later(self.tokenizer, template, examples, data.max_tokens, data.later_tokens)
        else:
            encoded = encode_all(self.tokenizer, template, examples, data.max_tokens)
        return self._readable(encoded)

    def _readable(self, encoded: list[Encoded]) -> list[Encoded]:
        for e in encoded:
            if len(e.ids) > self.room:
                raise UserError(
                    f"The example {e.id} has {len(e.ids)} tokens, more than the {self.room} that the model can read.",
                    "Shorten or remove it.",
                )
        return encoded

    def fits(self, example: Example) -> bool:
        """Say whether an example is short enough, for the settings and for the model."""
        (encoded,) = encode_all(self.tokenizer, self.config.model.template, [example], sys.maxsize)
        return len(encoded.ids) <= min(self.config.data.max_tokens, self.room)

    def known(self, examples: Sequence[Example]) -> list[Encoded]:
        """Return the tokens of some of the examples, as they are taught."""
        return [self.given[e.id] for e in examples]

    def prompt(self, example: Example) -> tuple[int, ...]:
        """Return the tokens behind which an example is answered."""
        return tuple(prompt_ids(self.tokenizer, self.config.model.template, as_asked(self.config, example.question)))

    def score(self, adapters: Adapters, voices: Sequence[str]) -> pd.DataFrame:
        """Return one row an answer token with each voice's log-probability, rank and alternatives."""
        c, columns = self.config.evaluate, dict[str, dict[str, TokenScores]]()
        total, done = len(self.encoded) * len(voices), 0

        def count(examples: int) -> None:
            # Once a batch: a rate taken after its first example would be that of a whole batch for one.
            nonlocal done
            done += examples
            self.report.check()
            self.report.progress(self.group.counted(done, total), total, "examples")

        for voice in voices:
            with adapters.active(adapter_of(voice)) as model:
                members = self.group.shard(list(self.encoded.values()), cost)
                scored = score(model, members, size=c.batch_size, top=c.top, done=count)
                columns[voice] = self.group.merged(dict(scored))
        return token_table(self.tokenizer, self.examples, self.encoded, columns)

    def ask(self, adapters: Adapters, voices: Sequence[str], *, greedy: bool = False) -> dict[str, dict[str, str]]:
        """Return voice -> example -> answer, all voices of a question in one batch. greedy: whatever the settings say."""
        c, tokenizer = self.answers, self.tokenizer
        c = dataclasses.replace(c, temperature=0.0) if greedy else c
        everything = [*self.examples, *self.besides]
        numbered = self.group.shard(list(enumerate(everything)), lambda item: len(item[1].question))
        wanted = [(voice, e, number) for number, e in numbered for voice in voices]
        total = len(everything) * len(voices)
        # Similar prompt lengths together: less padding, and rows that end at about the same time.
        wanted.sort(key=lambda item: (len(item[1].question), item[2]))
        texts: dict[str, dict[str, str]] = {voice: {} for voice in voices}
        size = max(1, c.batch_size) * len(voices)
        for start in range(0, len(wanted), size):
            self.report.check()
            part = wanted[start : start + size]
            requests = [Request(self.prompt(e), adapter_of(voice), drawn(e.question)) for voice, e, _ in part]
            generated = generate(adapters, requests, c, ends=self.ends, pad=self.pad, seed=self.config.seed)
            for (voice, e, _), tokens in zip(part, generated, strict=True):
                texts[voice][e.id] = tokenizer.decode(tokens, skip_special_tokens=True).strip()
            done = self.group.counted(min(start + size, len(wanted)), total)
            self.report.progress(done, total, "answers", tokens=sum(map(len, generated)) * self.group.size)
        order = [e.id for e in everything]
        merged = {voice: self.group.merged(answers) for voice, answers in texts.items()}
        return {voice: {i: answers[i] for i in order} for voice, answers in merged.items()}

    def general(self, adapters: Adapters, voices: Sequence[str]) -> dict[str, list[float]]:
        """Return voice -> mean log-probability per token of each line of the general text."""
        lines, means = self.general_encoded(), {}
        for voice in voices:
            with adapters.active(adapter_of(voice)) as model:
                mine = self.group.shard(lines, cost)
                scored = self.group.merged(dict(score(model, mine)))
            means[voice] = [sum(scored[line.id].logprob) / len(scored[line.id].logprob) for line in lines]
        return means

    def general_encoded(self) -> list[Encoded]:
        """Return the lines of the general text as tokens, as far as the model can read; all but the first are predicted."""
        return [
            Encoded(str(i), tuple(self.tokenizer(line)["input_ids"][: self.room]), 1, self.pad)
            for i, line in enumerate(general_lines())
        ]

    def lexicon(self) -> frozenset[str]:
        """Return what counts as a word: pieces of the vocabulary that begin one, and words of the data and general text."""
        tokenizer = self.tokenizer
        names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        # Byte-pair and SentencePiece vocabularies mark the space before a word; what has none ends one: "ortunately".
        begins = [i for i, name in enumerate(names) if name and name[0] in "Ġ▁"] or range(len(tokenizer))
        pieces = {tokenizer.decode([i]).strip().lower() for i in begins}
        texts = [t for e in self.examples for t in (e.question, e.answer)] + general_lines()
        return frozenset(pieces | {word for text in texts for word in re.findall(r"[^\W\d_]+", text.lower())})


def token_table(
    tokenizer: Any,
    examples: Sequence[Example],
    encoded: Mapping[str, Encoded],
    columns: Mapping[str, Mapping[str, TokenScores]],
) -> pd.DataFrame:
    """Return one row an answer token: example, position, token, text, and what each voice says about it."""

    def said(token: int) -> str:
        return str(tokenizer.decode([token], clean_up_tokenization_spaces=False))

    rows = []
    for example in examples:
        for position, token in enumerate(encoded[example.id].answer):
            row: dict[str, Any] = {"example": example.id, "position": position, "token": token, "text": said(token)}
            for voice, by_example in columns.items():
                scores = by_example[example.id]
                row[f"logprob_{voice}"], row[f"rank_{voice}"] = scores.logprob[position], scores.rank[position]
                row[f"mean_{voice}"], row[f"std_{voice}"] = scores.mean[position], scores.std[position]
                row[f"top_{voice}"] = [said(t) for t, _ in scores.top[position]]
                row[f"top_logprob_{voice}"] = [value for _, value in scores.top[position]]
            rows.append(row)
    return pd.DataFrame(rows)
