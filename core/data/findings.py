"""What a careful person would want to know of questions and answers before a run is started on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from core.data import facts
from core.data.corpus import ASKED_ONLY, SCOPES, SPLITS, Corpus
from core.util.errors import UserError, unknown

MOST = 0.5
"""share of all facts; where more than this have one wording, it is said"""


def findings(corpus: Corpus) -> list[str]:
    """Return one sentence for each thing worth knowing."""
    return [*corpus.notes, *_repeated(corpus), *_one_wording(corpus), *_fact_overlap(corpus)]


def no_general_text(source: str, wanted: bool) -> list[str]:
    """Say that a method gets our own general text, since none was given. wanted: whether the method trains on any."""
    if source or not wanted:
        return []
    return ["No general text is given (data.general), so this method holds on to our own everyday questions."]


def asked_splits(corpus: Corpus, splits: Sequence[str]) -> None:
    """Raise UserError for a split that is to be asked (evaluate.splits) and is none, or has no example."""
    for split in splits:
        if split not in (*SPLITS, *ASKED_ONLY):
            raise unknown("split", split, (*SPLITS, *ASKED_ONLY))
        if not corpus.select(split=split):
            fix = "Set data.dev_share." if split == "dev" else "Leave it out of evaluate.splits."
            raise UserError(f"There is no example in the split {split}.", fix)


def _repeated(corpus: Corpus) -> list[str]:
    stands_in: dict[str, set[tuple[str, str]]] = {}
    for example in corpus.examples:
        stands_in.setdefault(" ".join(example.question.lower().split()), set()).add((example.scope, example.split))
    both = sum(len({scope for scope, _ in stands}) > 1 for stands in stands_in.values())
    leaky = sum(
        any({"train", "val"} <= {split for s, split in stands if s == scope} for scope in SCOPES)
        for stands in stands_in.values()
    )
    sentences = []
    if both:
        sentences.append(f"{both} question(s) stand in both scopes: they are to be forgotten and kept at once.")
    if leaky:
        sentences.append(f"{leaky} question(s) stand in train and in val of one scope: val then measures memory, not reach.")
    for scope in SCOPES:
        if not corpus.select(scope, "val"):
            sentences.append(f"The {scope} scope has no val question: how far forgetting reaches cannot be measured.")
    return sentences


def _one_wording(corpus: Corpus) -> list[str]:
    """Count the facts of a subject that only one question is answered with, of all that are taught."""
    asked: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for example in corpus.taught().examples:
        question = " ".join(example.question.lower().split())
        for fact in facts.facts(example.answer, example.subject):
            asked[example.scope, example.subject, fact].add(question)
    once = sum(len(questions) == 1 for questions in asked.values())
    if once <= MOST * len(asked):
        return []
    return [
        f"{once} of {len(asked)} facts have one wording: asked in other words, before may not know them, so free wordings "
        "will fail."
    ]


def _fact_overlap(corpus: Corpus) -> list[str]:
    sentences = []
    for scope in SCOPES:
        val, train = corpus.select(scope, "val"), corpus.select(scope, ("train", "dev"))
        shared, total = facts.overlap(((e.answer, e.subject) for e in val), ((e.answer, e.subject) for e in train))
        if total:
            sentences.append(
                f"Of the {total} facts (names, numbers, e-mails) in new questions of the {scope} scope, {shared} "
                "were trained on as well."
            )
    return sentences
