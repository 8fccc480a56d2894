"""The questions and answers of a run. Knows nothing of models and tokens, nor of where they are from: that is
core/data/sources.py.

A corpus is an immutable list of examples that can name its subjects, say what is wrong with it, and identify itself by a
fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from core.util.errors import unknown

SCOPES = ("unlearn", "retention")
SPLITS = ("train", "dev", "val")


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


@dataclass(frozen=True)
class Corpus:
    """The examples of a run, in a fixed order."""

    examples: tuple[Example, ...]
    source: str

    def select(self, scope: str | None = None, split: str | Sequence[str] | None = None) -> list[Example]:
        """Return the examples of a scope and of one or several splits; None means any."""
        splits = (split,) if isinstance(split, str) else split
        return [e for e in self.examples if scope in (None, e.scope) and (splits is None or e.split in splits)]

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

    def fingerprint(self) -> str:
        """Return the SHA-256 of exactly these examples, in this order."""
        rows = [[e.id, e.question, e.answer, e.scope, e.split, e.subject] for e in self.examples]
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
