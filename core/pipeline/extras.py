"""What is recorded of each voice beyond its view of the data's true answers and its own answers.

- wrong: log-probabilities of wrong answers of the same form (core/data/wrong_answers.py);
- unseen: questions of the same style that no run of ours ever taught (assets/data/unseen.json), token by token;
- choices: the options of multiple-choice questions of common knowledge (assets/data/choices.json);
- kl: how far the voice's next-token distributions on half of the general text are from those of "before".

Each costs forward passes, so `evaluate.extras` can switch them off. Metrics read the numbers from the run's files.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from core.data import wrong_answers
from core.data.corpus import Corpus, Example
from core.models.adapters import Adapters
from core.models.distributed import ALONE
from core.models.likelihood import TokenScores, answer_logits, logprobs, per_example, score
from core.models.tokens import Batch, Encoded, by_tokens, collate, cost, encode
from core.pipeline.voices import Voices, adapter_of, as_scored, general_lines, token_table
from core.util import paths
from core.util.errors import UserError

MEMORY = 2**26
"""bytes of log-probabilities over the whole vocabulary that are held at a time, for KL"""
KL_EVERY = 2
"""KL is taken on every second line of the general text: two models read it, and all of their vocabulary is compared"""


@functools.cache
def choices() -> list[dict[str, Any]]:
    """Return the multiple-choice questions: question, options; the right option comes first."""
    return json.loads((paths.ASSETS / "data" / "choices.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@functools.cache
def _unseen_rows() -> dict[str, list[dict[str, str]]]:
    return json.loads((paths.ASSETS / "data" / "unseen.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def unseen(subset: str) -> list[Example]:
    """Return never-seen questions in the style of a subset of the demo; those of all subsets for any other name."""
    rows = _unseen_rows()
    kinds = [subset] if subset in rows else list(rows)
    return [
        Example(f"unseen/{kind}/{n}", row["question"], row["answer"], "unseen", kind, "")
        for kind in kinds
        for n, row in enumerate(rows[kind])
    ]


def fingerprint(subset: str) -> str:
    """Return the SHA-256 of our own material, as it is used for a subset: what is recorded depends on it."""
    text = json.dumps(
        [
            choices(),
            [e.id for e in unseen(subset)],
            _unseen_rows(),
            [general_lines(), KL_EVERY],
            wrong_answers.EACH,
            wrong_answers.MOST,
        ],
        ensure_ascii=False,
    )
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Passages:
    """What every voice is to judge, as tokens; whatever is longer than the model can read is left out."""

    choices: list[Encoded]
    """choice/QUESTION/OPTION"""
    wrong: list[Encoded]
    """EXAMPLE#N"""
    unseen: list[Encoded]


class Extras:
    """Records the extras of some voices of a run."""

    def __init__(self, voices: Voices, corpus: Corpus, examples: Sequence[Example]) -> None:
        """Make the passages for some examples of a corpus out of the facts of all of it, and of our own material."""
        self.voices, self.examples = voices, examples
        self.wrong, self.unseen = wrong_answers.wrong(corpus.examples), unseen(voices.config.data.subset)
        questions = {e.id: e.question for e in examples}
        self._done = self._total = 0
        self.passages = Passages(
            [
                e
                for n, c in enumerate(choices())
                for k, text in enumerate(c["options"])
                for e in self._option(f"choice/{n}/{k}", c["question"], text)
            ],
            [
                e
                for i, texts in self.wrong.texts.items()
                if i in questions
                for n, text in enumerate(texts)
                for e in self._scored(f"{i}#{n}", questions[i], text)
            ],
            [e for example in self.unseen for e in self._scored(example.id, example.question, example.answer)],
        )

    def _option(self, name: str, question: str, answer: str) -> list[Encoded]:
        """Return a question of common knowledge and an option as tokens, without an end; nothing where they do not fit."""
        voices, example = self.voices, Example(name, question, answer, "", "", "")
        if not self._says(answer):
            return []
        encoded = encode(voices.tokenizer, voices.config.model.template, example, max_tokens=sys.maxsize)
        ids = encoded.ids[:-1]
        return [replace(encoded, ids=ids, ended=False)] if len(ids) <= voices.room else []

    def _scored(self, name: str, question: str, answer: str) -> list[Encoded]:
        """Return question and answer as tokens, encoded as true answers are scored; nothing where they do not fit."""
        voices, example = self.voices, Example(name, question, answer, "", "", "")
        if not self._says(answer):
            return []
        try:
            (encoded,) = as_scored(voices.tokenizer, voices.config, [example], any_length=True)
        except UserError:  # the template cuts it before its answer begins
            return []
        return [encoded] if len(encoded.ids) <= voices.room else []

    def _says(self, answer: str) -> bool:
        return bool(self.voices.tokenizer(answer, add_special_tokens=False)["input_ids"])

    def material(self) -> dict[str, Any]:
        """Return what is judged, so that the numbers can be read without the data."""
        kept = {e.id for e in self.passages.unseen}
        return {
            "wrong_texts": self.wrong.texts,
            "left_out": self.wrong.left_out,
            "unseen": {e.id: e.answer for e in self.unseen if e.id in kept},
        }

    def record(self, adapters: Adapters, names: Sequence[str]) -> tuple[dict[str, Any], pd.DataFrame]:
        """Return ({choices, wrong, kl}, each by voice; a row a token of the never-seen answers).

        "before" must be among the adapters.
        """
        records, table = self.judged(adapters, names)
        records["kl"] = {voice: self.kl(adapters, voice) for voice in names if voice != "before"}
        return records, table

    def judged(self, adapters: Adapters, names: Sequence[str]) -> tuple[dict[str, Any], pd.DataFrame]:
        """Return ({choices, wrong}, each by voice; a row a token of the never-seen answers): what needs no other voice."""
        light, every = [*self.passages.choices, *self.passages.wrong], self.passages.unseen
        self._done, self._total = 0, len(names) * (len(light) + len(every))
        records: dict[str, Any] = {"choices": {}, "wrong": {}}
        columns: dict[str, dict[str, TokenScores]] = {}
        for voice in names:
            with adapters.active(adapter_of(voice)) as model:
                judged = self._logprobs(model, light)
                mine = self.voices.group.shard(every, cost)
                scored = score(model, mine, done=self._progress)
                columns[voice] = self.voices.group.merged(dict(scored))
            records["choices"][voice] = [_options(judged, n, c["options"]) for n, c in enumerate(choices())]
            records["wrong"][voice] = _by_example(judged, self.wrong.texts)
        kept = [e for e in self.unseen if any(e.id == member.id for member in every)]
        table = token_table(self.voices.tokenizer, kept, {e.id: e for e in every}, columns)
        return records, table.drop(columns=[name for name in table.columns if name.startswith("top_")])

    def _logprobs(self, model: Any, members: Sequence[Encoded]) -> dict[str, list[float]]:
        by_passage: dict[str, list[float]] = {}
        for batch in logprobs(model, self.voices.group.shard(members, cost)):
            by_passage.update(batch)
            self._progress(len(batch))
        return self.voices.group.merged(by_passage)

    @torch.no_grad()
    def kl(self, adapters: Adapters, voice: str, kept: Path | None = None) -> list[float]:
        """Return, per line of the general text that KL is taken on, the mean over positions of KL(before || voice) in nats.

        kept: where `keep` put the distributions of a voice that is not among the adapters.
        """
        lines, divergences = self._lines(), dict[str, float]()
        # What was kept lies in batches of all lines.
        group = self.voices.group if kept is None else ALONE
        for number, batch in enumerate(self._batches(adapters, group.shard(lines, cost))):
            before = self._distributions(adapters, "before", batch)
            if kept is None:
                other = self._distributions(adapters, voice, batch)
            else:
                other = torch.from_numpy(np.load(kept / f"{number}.npy")).to(adapters.device)
            each = per_example((before.exp() * (before - other)).sum(-1), batch.owners, len(batch))
            divergences.update(zip((member.id for member in batch.members), each.tolist(), strict=True))
        merged = group.merged(divergences)
        return [merged[line.id] for line in lines]

    @torch.no_grad()
    def keep(self, adapters: Adapters, voice: str, folder: Path) -> None:
        """Write a voice's distributions on the general text, for a model that leaves the memory before `kl` is asked."""
        folder.mkdir(parents=True)
        for number, batch in enumerate(self._batches(adapters, self._lines())):
            np.save(folder / f"{number}.npy", self._distributions(adapters, voice, batch).cpu().numpy())

    def _lines(self) -> list[Encoded]:
        return self.voices.general_encoded()[::KL_EVERY]

    def _batches(self, adapters: Adapters, lines: Sequence[Encoded]) -> Iterator[Batch]:
        vocabulary = int(adapters.model.get_output_embeddings().weight.shape[0])
        for part in by_tokens(lines, max(1, MEMORY // (4 * vocabulary))):
            self.voices.report.check()
            yield collate(part, adapters.device)

    def _distributions(self, adapters: Adapters, voice: str, batch: Batch) -> torch.Tensor:
        with adapters.active(adapter_of(voice)) as model:
            return torch.log_softmax(answer_logits(model, batch).float(), dim=-1)

    def _progress(self, count: int) -> None:
        self._done += count
        self.voices.report.progress(self.voices.group.counted(self._done, self._total), self._total, "passages")


def _options(judged: Mapping[str, list[float]], number: int, options: Sequence[str]) -> list[float] | None:
    """Return each option's log-probability per character (lm-evaluation-harness: acc_norm); None if one is missing."""
    scores = [judged.get(f"choice/{number}/{k}") for k in range(len(options))]
    if any(values is None for values in scores):
        return None
    return [sum(values or ()) / len(text) for values, text in zip(scores, options, strict=True)]


def _by_example(judged: Mapping[str, list[float]], texts: Mapping[str, Sequence[str]]) -> dict[str, list[float]]:
    """Return example -> mean log-probability per token of each of its wrong answers."""
    names = {i: [f"{i}#{n}" for n in range(len(wrong)) if f"{i}#{n}" in judged] for i, wrong in texts.items()}
    return {i: [_mean(judged[name]) for name in passages] for i, passages in names.items() if passages}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
