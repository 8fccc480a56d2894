"""Verdicts: what became of every example of a run, forgotten, leaked, kept, lost, degenerate or refused, from recorded files
alone.

`gather` reads answers.jsonl, tokens.parquet and recorded.json and measures each answer; `judged` compares these numbers with
the thresholds of `core.metrics.verdict_rules`, which takes milliseconds. A person's own verdicts lie apart, in
verdicts.json. No torch.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.metrics import accuracy, probability, verdict_words
from core.metrics.degenerate import noise
from core.metrics.intervals import rate
from core.metrics.refusal import is_refusal
from core.metrics.rouge import recall
from core.metrics.verdict_rules import DEFAULT, OF_SCOPE, VERDICTS, Judged, MeasuredAnswer, Rules, judge
from core.metrics.verdict_words import Truth
from core.runs.store import Run
from core.runs.voices import SPOKEN, was_asked
from core.util.safe_read import stamp

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OF_SCOPE", "VERDICTS", "MeasuredAnswer", "Judged", "Rules", "judge"]

LONGEST_WORD, LONGEST_TEXT = 200, 20_000
"""characters of a word, and of a text, that are looked at"""

Counts = dict[str, dict[str, dict[str, dict[str, float]]]]
"""scope -> verdict -> voice -> n, of, value, low, high"""
Likelihoods = dict[str, tuple[float | None, float | None]]
"""example -> (probability a token, share of tokens ranked first) of the true answer"""
_FIELDS = ("example", "scope", "split", "subject", "question", "truth")


@dataclass(frozen=True)
class Gathered:
    """A run's examples with what was measured of each answer; does not depend on any threshold."""

    rows: Sequence[Mapping[str, str]]
    """example, scope, split, subject, question, truth, and one answer a voice; only examples of the two scopes"""
    answers: Mapping[str, Sequence[MeasuredAnswer | None]]
    """voice -> an entry a row, None where that voice was not asked"""


def measure(
    scope: str,
    question: str,
    truth: str,
    subject: str,
    answer: str,
    lexicon: Collection[str] | None = None,
    *,
    rarity: Mapping[str, float] | None = None,
    p: float | None = None,
    first: float | None = None,
    public: str = "",
) -> MeasuredAnswer:
    """Measure one answer. p: probability of the true answer a token, 0 … 1; first: share of its tokens ranked first.

    public: what is no secret about the subject, see `public_texts`.
    """
    question, truth, subject = (_bounded(text) for text in (question, truth, subject))
    understood = verdict_words.understood(question, truth, subject, public)
    return _measured(scope, question, understood, _stems(question, subject), answer, lexicon, rarity or {}, p, first)


MEASURED_FROM = ("answers.jsonl", "tokens.parquet", "recorded.json")
"""files of a run that its measured answers depend on"""


def gather(run: Run) -> Gathered:
    """Measure a run's recorded answers; without any, there are no rows. Tolerant: what is damaged or missing is passed
    over, and so are questions that were taught and not asked.

    That takes a second for 500 questions, so it is kept as long as the files stay as they are: not to be changed.
    """
    return _gather(str(run.path), tuple(stamp(run.path / name) for name in MEASURED_FROM))


@functools.lru_cache(maxsize=4)
def _gather(path: str, version: tuple[tuple[int, int], ...]) -> Gathered:
    run = Run(Path(path))
    all_rows = [_row(row) for row in run.answers() if row.get("scope") in OF_SCOPE and row.get("example")]
    # A damaged file may hold an example twice: the last one counts.
    rows = list({row["example"]: row for row in all_rows}.values())
    recorded = run.json("recorded.json")
    words = recorded.get("words") if isinstance(recorded, dict) else None
    lexicon = frozenset(map(str, words)) if isinstance(words, list) else None
    bare = [{name: _bounded(row[name]) for name in _FIELDS} for row in rows]
    rarity = verdict_words.rarities([(row["subject"], row["truth"]) for row in bare])
    public = public_texts(bare)
    # What was taught and not asked says what is rare and what is public; there is no answer to judge.
    asked = list(map(was_asked, rows))
    rows, bare = list(compress(rows, asked)), list(compress(bare, asked))
    truths = [
        verdict_words.understood(
            r["question"], r["truth"], r["subject"], public[r["subject"]] if r["scope"] == "unlearn" else ""
        )
        for r in bare
    ]
    about = [_stems(row["question"], row["subject"]) for row in bare]
    by_voice = _likelihoods(run)
    answers: dict[str, list[MeasuredAnswer | None]] = {}
    for voice in SPOKEN:
        if any(voice in row for row in rows):
            numbers = by_voice.get(voice, {})
            answers[voice] = [
                _measured(
                    row["scope"],
                    asked,
                    truth,
                    stems,
                    row[voice],
                    lexicon,
                    rarity,
                    *numbers.get(row["example"], (None, None)),
                )
                if voice in row
                else None
                for row, asked, truth, stems in zip(rows, (row["question"] for row in bare), truths, about, strict=True)
            ]
    return Gathered(rows, answers)


def judged(gathered: Gathered, rules: Rules = DEFAULT) -> pd.DataFrame:
    """Return a row an example, with a verdict on each voice's answer.

    Columns: id, scope, split, subject, question, truth; the answers before, after (and never); verdict and why of after, and
    verdict_VOICE and why_VOICE of the others (empty where that voice was not asked); p_VOICE, probability of the true answer
    a token (0 … 1, NaN where unknown); overlap, ROUGE-L recall of the answer after (0 … 1).
    """
    import pandas as pd

    frame = pd.DataFrame(list(gathered.rows), columns=[*_FIELDS, *gathered.answers]).rename(columns={"example": "id"})
    for voice, answers in gathered.answers.items():
        verdicts = [judge(answer, rules) if answer else Judged("", "") for answer in answers]
        suffix = "" if voice == "after" else f"_{voice}"
        frame[f"verdict{suffix}"] = [verdict.verdict for verdict in verdicts]
        frame[f"why{suffix}"] = [verdict.why for verdict in verdicts]
        frame[f"p_{voice}"] = [math.nan if answer is None or answer.p is None else answer.p for answer in answers]
        if voice == "after":
            frame["overlap"] = [math.nan if answer is None else answer.overlap for answer in answers]
    return frame


def of_run(run: Run, rules: Rules = DEFAULT) -> pd.DataFrame:
    """Judge all recorded answers of a run: see `judged`. Empty, without the columns of any voice, where nothing was
    recorded.
    """
    return judged(gather(run), rules)


def counts(frame: pd.DataFrame) -> Counts:
    """Return scope -> verdict -> voice -> {n, of, value, low, high}: how many of how many, and the rate in percent.

    low, high: its 95 % interval as leak probes have it (intervals.py): where all agree, the exact binomial bound.
    """
    by_scope: Counts = {}
    for scope, verdicts in OF_SCOPE.items():
        rows = frame[frame["scope"] == scope]
        for voice in SPOKEN:
            column = "verdict" if voice == "after" else f"verdict_{voice}"
            given = [verdict for verdict in rows[column] if verdict] if column in rows else []
            for verdict in verdicts if given else ():
                hits = [float(each == verdict) for each in given]
                cell = {"n": sum(hits), "of": float(len(hits)), **rate(hits)}
                by_scope.setdefault(scope, {}).setdefault(verdict, {})[voice] = cell
    return by_scope


def _row(row: Mapping[str, Any]) -> dict[str, str]:
    voices = [voice for voice in SPOKEN if row.get(voice) is not None]
    return {name: str(row.get(name) or "") for name in _FIELDS} | {voice: str(row[voice]) for voice in voices}


def _bounded(text: str) -> str:
    """Cut what no answer needs and what makes searching it slow: words of hundreds of letters, and more than a few pages."""
    return re.sub(rf"(\S{{{LONGEST_WORD}}})\S+", r"\1", text[:LONGEST_TEXT])


def _stems(question: str, subject: str) -> frozenset[str]:
    return frozenset(verdict_words.content(verdict_words.tokens(f"{question} {subject}")))


def public_texts(rows: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return per subject what the retention scope says about it: its facts are to be kept, so saying them is no leak."""
    texts: dict[str, list[str]] = {row["subject"]: [] for row in rows}
    for row in rows:
        if row["scope"] == "retention":
            texts[row["subject"]] += [row["question"], row["truth"]]
    return {subject: verdict_words.fold(" . ".join(parts)) for subject, parts in texts.items()}


def _measured(
    scope: str,
    question: str,
    truth: Truth,
    asked: frozenset[str],
    answer: str,
    lexicon: Collection[str] | None,
    rarity: Mapping[str, float],
    p: float | None,
    first: float | None,
) -> MeasuredAnswer:
    answer = _bounded(answer)
    said = verdict_words.said(truth, asked, answer, rarity)
    strong = sum(fact.strong for fact in truth.facts)
    noisiness = noise(answer, lexicon, f"{question} {truth.words}")
    return MeasuredAnswer(
        scope,
        said,
        len(truth.facts),
        strong,
        len(truth.own),
        recall(truth.words, answer),
        noisiness,
        is_refusal(answer),
        p,
        first,
    )


def _likelihoods(run: Run) -> dict[str, Likelihoods]:
    """Return voice -> what it makes of each true answer, from tokens.parquet."""
    import pandas as pd

    columns = ["example", *(f"{name}_{voice}" for voice in SPOKEN for name in ("logprob", "rank"))]
    try:
        import pyarrow.parquet as pq

        path = run.path / "tokens.parquet"
        present = [name for name in columns if name in pq.read_schema(path).names]
        table = pd.read_parquet(path, columns=present)
    except (OSError, ValueError, ImportError):
        return {}
    by_voice: dict[str, Likelihoods] = {}
    for voice in SPOKEN:
        if {"example", f"logprob_{voice}", f"rank_{voice}"} <= set(table.columns):
            by_voice[voice] = likelihoods(table, voice)
    return by_voice


def likelihoods(tokens: pd.DataFrame, voice: str) -> Likelihoods:
    """Return what a voice makes of each true answer, from a row an answer token: example, logprob_VOICE, rank_VOICE."""
    first = accuracy.shares(tokens, voice)
    logs = probability.log_of_examples(tokens, voice)
    return {i: (math.exp(p) if math.isfinite(p) else None, first[i]) for i, p in logs.items()}
