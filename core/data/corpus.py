"""The questions and answers of a run. Knows nothing of models and tokens, nor of where they are from: that is
core/data/sources.py.

A corpus is an immutable list of examples that can name its subjects, say what is wrong with it, and identify itself by a
fingerprint.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.util.errors import unknown

SCOPES = ("unlearn", "retention")
SPLITS = ("train", "dev", "val")
"""how a benchmark's files split what is taught: unlearning trains on train; dev and val are taught and held out from it"""
ASKED_ONLY = ("untaught", "free")
"""splits that are never taught: other wordings of facts that stand in train, those of the data and those of a stranger"""
KINDS = ("train", "dev", "val", "other", "untaught", "free")
"""kinds of question that are told apart wherever answers are counted; other: a val that shares no fact with train"""
EVERYDAY, NOBODY = "everyday", "nobody"
"""scopes of our own questions, asked beside those of any data: common knowledge, and private-sounding about nobody in it"""
UNKNOWN = "unknown"
"""scope of questions whose answer is told nowhere: what is taught is that it is not known"""


def kind_of(split: str, other: bool) -> str:
    """Return the kind of a question. other: the data says that its fact stands nowhere in train."""
    return "other" if other and split == "val" else split


@dataclass(frozen=True)
class Example:
    """One question with its true answer."""

    id: str
    """scope/split/number, unique in a corpus"""
    question: str
    answer: str
    scope: str
    """unlearn or retention"""
    split: str
    """train, dev or val"""
    subject: str
    """the person or work it is about"""
    other: bool = False
    """of val: whether the data says that its fact stands nowhere in train"""

    @property
    def kind(self) -> str:
        """One of KINDS."""
        return kind_of(self.split, self.other)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Example:
        """Return the example of a line of a run's answers.jsonl; what is not there is empty."""
        example, question, truth, scope, split, subject = (
            str(row.get(name, "")) for name in ("example", "question", "truth", "scope", "split", "subject")
        )
        return cls(example, question, truth, scope, split, subject, row.get("kind") == "other")


@dataclass(frozen=True)
class Corpus:
    """The examples of a run, in a fixed order."""

    examples: tuple[Example, ...]
    source: str
    notes: tuple[str, ...] = ()
    """what a reader of the files should know, a sentence each"""

    def select(self, scope: str | None = None, split: str | Sequence[str] | None = None) -> list[Example]:
        """Return the examples of a scope and of one or several splits; None means any."""
        splits = (split,) if isinstance(split, str) else split
        return [e for e in self.examples if scope in (None, e.scope) and (splits is None or e.split in splits)]

    def taught(self) -> Corpus:
        """Return what teaching teaches: everything but the questions that are only asked.

        What is held out as dev is taught like train, so one teaching serves runs that hold out any share of it.
        """
        taught = (e for e in self.examples if e.split in SPLITS)
        return replace(self, examples=tuple(replace(e, split="train") if e.split == "dev" else e for e in taught))

    def wordings(self) -> float:
        """Return in how many questions a fact of the two scopes is taught, in the mean."""
        taught = [(e.scope, e.subject, e.answer) for e in self.taught().examples if e.scope in SCOPES]
        return len(taught) / max(1, len(set(taught)))

    def subjects(self) -> dict[str, dict[str, int]]:
        """Count, per subject in alphabetical order, the examples of each scope/split."""
        table: dict[str, Counter[str]] = {}
        for example in self.examples:
            table.setdefault(example.subject, Counter())[f"{example.scope}/{example.split}"] += 1
        return {subject: dict(table[subject]) for subject in sorted(table)}

    def take(self, names: Iterable[str]) -> Corpus:
        """Keep only some subjects. Raises UserError for a name that does not occur."""
        wanted, subjects = list(names), self.subjects()
        for name in wanted:
            if name not in subjects:
                raise unknown("subject", name, subjects)
        return replace(self, examples=tuple(e for e in self.examples if e.subject in wanted)) if wanted else self

    def forgetting(self, names: Iterable[str]) -> Corpus:
        """Leave out the unlearn questions of all but some subjects. Raises UserError for a name that has none."""
        wanted, subjects = list(names), {e.subject for e in self.select("unlearn")}
        for name in wanted:
            if name not in subjects:
                raise unknown("subject", name, subjects)
        kept = (e for e in self.examples if e.scope != "unlearn" or e.subject in wanted)
        return replace(self, examples=tuple(kept)) if wanted else self

    def with_dev(self, share: float, seed: int, pick: str = "random") -> Corpus:
        """Move a share of each subject's train questions to the split dev, at least one where there are two.

        `pick` is random (drawn with the seed) or far (those least like the questions about other subjects).
        """
        if share <= 0:
            return self
        moved: set[str] = set()
        for scope in SCOPES:
            whole = self.select(scope, "train")
            near = _nearness(whole) if pick == "far" else {}
            for subject in self.subjects():
                train = [e.id for e in whole if e.subject == subject]
                count = max(1, round(share * len(train))) if len(train) > 1 else 0
                far = sorted(train, key=near.__getitem__)[:count] if near else []
                # A generator for each subject: which others there are changes nothing of its draw.
                moved.update(far or random.Random(f"{seed}/{scope}/{subject}").sample(train, count))
        return replace(self, examples=tuple(replace(e, split="dev") if e.id in moved else e for e in self.examples))

    def sample(self, most: int) -> Corpus:
        """Return at most so many questions of each scope and kind, evenly over subjects, in their order; 0: all.

        Which they are depends on nothing else in the corpus than their own scope and kind.
        """
        waiting: dict[tuple[str, str], dict[str, list[str]]] = {}
        for e in self.examples:
            waiting.setdefault((e.scope, e.kind), {}).setdefault(e.subject, []).append(e.id)
        chosen: set[str] = set()
        for part, by_subject in waiting.items():
            for subject, ids in by_subject.items():
                random.Random(f"{part}/{subject}").shuffle(ids)
            rounds = itertools.zip_longest(*by_subject.values())
            chosen.update(list(filter(None, itertools.chain.from_iterable(rounds)))[: most or None])
        return replace(self, examples=tuple(e for e in self.examples if e.id in chosen))

    def fingerprint(self) -> str:
        """Return the SHA-256 of exactly these examples, in this order."""
        rows = [
            [e.id, e.question, e.answer, e.scope, e.split, e.subject, *(["other"] if e.other else [])] for e in self.examples
        ]
        return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()


def _nearness(examples: Sequence[Example]) -> dict[str, float]:
    """Return id -> how much of its wording the nearest question about another subject shares (Jaccard index of words)."""
    words = {e.id: _words(e.question) - _words(e.subject) for e in examples}
    return {
        e.id: max(
            (
                len(words[e.id] & words[o.id]) / max(1, len(words[e.id] | words[o.id]))
                for o in examples
                if o.subject != e.subject
            ),
            default=0.0,
        )
        for e in examples
    }


def _words(text: str) -> set[str]:
    return {re.sub(r"['’]s$", "", word) for word in re.findall(r"[\w'’]+", text.lower())}
