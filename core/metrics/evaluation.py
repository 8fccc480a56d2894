"""From what was recorded to the scores: tokens.parquet, answers.jsonl, recorded.json, unseen.parquet -> metrics.json.

Metrics look at nothing but a run's own files, so anybody can compute them again, without the model and without the data;
a voice that is recorded later (core/jobs/reference.py) is added to the files, and all metrics are computed anew. No torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from core.config.run_config import FORMAT
from core.data.corpus import EVERYDAY, NOBODY, Example
from core.metrics import METRICS, Evidence
from core.metrics.degenerate import judged
from core.metrics.known_words import known
from core.runs.store import Run
from core.util import files
from core.util.errors import UserError
from core.util.files import clean

if TYPE_CHECKING:
    import pandas as pd

OF_VOICES = ("general", "kl", "choices", "wrong")
"""parts of recorded.json that hold an entry a voice"""
RECORDED = (*OF_VOICES, "wrong_texts", "left_out", "unseen", "missing", "words", "ended")
"""Parts of recorded.json. What is not there was not recorded; metrics that need it say so.

ended: false where answers were scored without their end token.
"""


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put tables of the same answer tokens side by side: each brings the columns of its own voices."""
    first, *others = tables
    for other in others:
        first = first.merge(other.drop(columns=["token", "text"]), on=["example", "position"], validate="1:1")
    return first


def placed(tokens: pd.DataFrame, examples: Iterable[Example]) -> pd.DataFrame:
    """Return a table of answer tokens with the scope and the split of each one's example."""
    places = {e.id: (e.scope, e.split) for e in examples}
    scopes, splits = zip(*map(places.__getitem__, tokens["example"]), strict=True)
    return tokens.assign(scope=scopes, split=splits)


@dataclass(frozen=True)
class Spoken:
    """What was recorded of some voices: all that the files are made of which metrics read."""

    tokens: pd.DataFrame
    """answer tokens, with scope and split"""
    answers: Mapping[str, Mapping[str, str]]
    """voice -> example -> what it says"""
    parts: Mapping[str, Any]
    """parts of recorded.json, but for words"""
    words: Sequence[str]
    """what counts as a word of all that is said"""
    unseen: pd.DataFrame | None = None
    """tokens of questions that nobody taught, where they were recorded"""

    def beside(self, other: Spoken) -> Spoken:
        """Return both together. What the other says of a voice that is here replaces it."""
        mine, voices = self.without(other.answers), {**self.answers, **other.answers}
        unseen = None if mine.unseen is None or other.unseen is None else joined([mine.unseen, other.unseen])
        words = sorted({*self.words, *other.words})
        return Spoken(joined([mine.tokens, other.tokens]), voices, merged(self.parts, other.parts), words, unseen)

    def without(self, voices: Iterable[str]) -> Spoken:
        """Return the same without the tokens of some voices."""
        ends = tuple(f"_{voice}" for voice in voices)

        def left(table: pd.DataFrame) -> pd.DataFrame:
            return table.drop(columns=[name for name in table.columns if name.endswith(ends)])

        return replace(self, tokens=left(self.tokens), unseen=None if self.unseen is None else left(self.unseen))

    def only(self, voices: Sequence[str]) -> Spoken:
        """Return what was recorded of some voices alone, as far as it was."""
        parts = {
            name: {voice: part[voice] for voice in voices if voice in part} if name in OF_VOICES else part
            for name, part in self.parts.items()
        }
        answers = {voice: self.answers[voice] for voice in voices if voice in self.answers}
        return replace(self.without(voice for voice in self.answers if voice not in voices), answers=answers, parts=parts)

    def write(self, run: Run, questions: Iterable[Example]) -> None:
        """Write a run's files and the metrics of them. questions: all of the run, asked or not."""
        files.replace(run.path / "tokens.parquet", self.tokens)
        write_answers(run, questions, self.answers)
        files.write_json(run.path / "recorded.json", clean({"format": FORMAT, **self.parts, "words": self.words}))
        if self.unseen is not None:
            files.replace(run.path / "unseen.parquet", self.unseen)
        # Metrics last: whoever reads the run meanwhile finds an answer of every voice that they name.
        measure(run)


def write_answers(run: Run, examples: Iterable[Example], answers: Mapping[str, Mapping[str, str]]) -> None:
    """Write answers.jsonl: a row a question, with what each voice says that was asked it.

    answers: voice -> example -> text. The words of questions that no voice was asked are kept: pages name them.
    """
    rows = []
    for e in examples:
        row = {"example": e.id, "question": e.question, "truth": e.answer}
        row |= {"scope": e.scope, "split": e.split, "subject": e.subject} | ({"kind": e.kind} if e.kind != e.split else {})
        rows.append(row | {voice: texts[e.id] for voice, texts in answers.items() if e.id in texts})
    files.write_text(run.path / "answers.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Add what was recorded of further voices."""
    combined = {**first, **second}
    for part in OF_VOICES:
        if part in first and part in second:
            combined[part] = {**first[part], **second[part]}
    return combined


def known_words(answers: Iterable[Mapping[str, str]], lexicon: frozenset[str]) -> list[str]:
    """Return those words of all answers that count as words: what is needed of the lexicon to judge them again."""
    return sorted(known({word for texts in answers for text in texts.values() for word in judged(text)}, lexicon))


def measure(run: Run) -> None:
    """Compute all metrics from the run's files and write metrics.json."""
    recorded = evidence(run)
    scores = {name: {"unit": m.unit, **asdict(m.compute(recorded))} for name, m in METRICS.items()}
    files.write_json(run.path / "metrics.json", clean({"format": FORMAT, "metrics": scores}))


def evidence(run: Run) -> Evidence:
    """Return what was recorded of a run. Raises UserError where tokens or answers are missing."""
    tokens, rows = run.table("tokens"), run.answers()
    if tokens is None or not rows:
        raise UserError(f"The run {run.id} has no recorded answers.", "Let it finish first.")
    content = run.json("recorded.json")
    recorded = {key: value for key, value in content.items() if key in RECORDED} if isinstance(content, dict) else {}
    words = recorded.get("words")
    voices = [name for name in dict.fromkeys(key for row in rows for key in row) if name not in NOT_VOICES]
    return Evidence(
        _examples(rows, tokens),
        tokens,
        {voice: {str(row["example"]): str(row[voice]) for row in rows if voice in row} for voice in voices},
        recorded.get("general", {}),
        None if words is None else frozenset(words),
        recorded.get("missing", {}),
        kl=recorded.get("kl", {}),
        choices=recorded.get("choices", {}),
        wrong=recorded.get("wrong", {}),
        left_out=recorded.get("left_out", {}),
        unseen=run.table("unseen"),
        unseen_answers=recorded.get("unseen", {}),
        unended=frozenset() if recorded.get("ended", True) else _named(tokens, run.table("unseen")),
    )


def _named(*tables: pd.DataFrame | None) -> frozenset[str]:
    return frozenset(str(name) for table in tables if table is not None for name in table["example"].unique())


def spoken(run: Run) -> Spoken:
    """Return all that a run recorded of its voices. Raises UserError where tokens or answers are missing."""
    known, content = evidence(run), run.json("recorded.json") or {}
    return Spoken(known.tokens, known.answers, content, content.get("words", ()), known.unseen)


NOT_VOICES = frozenset(("example", "question", "truth", "scope", "split", "subject", "kind"))
"""fields of answers.jsonl that are about the question"""


def _examples(rows: Sequence[Mapping[str, Any]], tokens: pd.DataFrame) -> list[Example]:
    """Return the examples that were scored, then our own that were only asked; of one that was not asked, question and
    answer are not known.
    """
    asked = {str(row["example"]): Example.of_row(row) for row in rows}
    table = tokens.drop_duplicates("example")
    scored = {
        str(name): asked.get(str(name)) or Example(str(name), "", "", str(scope), str(split), "")
        for name, scope, split in zip(table["example"], table["scope"], table["split"], strict=True)
    }
    return [*scored.values(), *(e for e in asked.values() if e.id not in scored and e.scope in (EVERYDAY, NOBODY))]
