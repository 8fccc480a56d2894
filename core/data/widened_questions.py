"""Widening: more questions of each scope's kind, so that forgetting and keeping reach beyond the given wording.

After NAUF (arXiv 2407.10058): each scope's train questions are asked about that scope's other subjects too, and the taught
model answers them itself, greedily. What coincides with a question of train, dev or val is left out, compared without
case, white space and punctuation; so is what both scopes would ask. Val asked in other words may be among them, so val says
less about generalising in a widened run. Pages read the account of it: no heavy import.
"""

from __future__ import annotations

import json
import random
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data.corpus import SCOPES, Corpus, Example
from core.data.facts import NAMELESS
from core.data.words import SPACELESS
from core.util import files
from core.util.errors import UserError

if TYPE_CHECKING:
    from core.runs.store import Run

_LETTER = rf"[^\W{SPACELESS}\uac00-\ud7af]"
"""a letter that makes another word of a name it touches (Mark in Markdown); in Korean an ending does, without a space"""
SAMPLES = 4
"""questions of each scope that are shown to look at"""


@dataclass(frozen=True)
class WidenedQuestions:
    """Questions without answers yet."""

    examples: list[Example]
    dropped: int
    """different questions that were left out because they coincide with one of val or dev"""


def questions(corpus: Corpus, count: int, seed: int) -> WidenedQuestions:
    """Return up to `count` questions of each scope, drawn with a seed. Raises UserError where none can be made."""
    crossed = {scope: _crossed(corpus, scope) for scope in SCOPES}
    asked = {_plain(e.question) for e in corpus.examples}
    held_out = {_plain(e.question) for e in corpus.select(split=("val", "dev"))}
    both = crossed["unlearn"].keys() & crossed["retention"].keys()
    further: list[Example] = []
    for scope, by_text in crossed.items():
        # Sorted, because a set has another order in every process and the draw must be the same.
        free = sorted(by_text.keys() - asked - both, key=lambda key: _words(by_text[key].question))
        chosen = random.Random(f"{seed}/{scope}").sample(free, min(count, len(free)))
        further += [replace(by_text[key], id=f"{scope}/widened/{number}") for number, key in enumerate(chosen)]
    if not further:
        raise UserError(
            "No question can be widened: none has its subject's name in it, a scope has only one subject, or all questions "
            "that could be made are there already.",
            "Set data.widen=0, or give the data a column subject.",
        )
    return WidenedQuestions(further, len((crossed["unlearn"].keys() | crossed["retention"].keys()) & held_out))


def _crossed(corpus: Corpus, scope: str) -> dict[str, Example]:
    """Return a scope's train questions with each other subject of the same scope in place of their own, by plain text.

    Of the same scope: a question to forget must not be asked about somebody of whom everything is to be kept.
    """
    train = [e for e in corpus.select(scope, "train") if e.subject not in NAMELESS]
    examples: dict[str, Example] = {}
    for example in train:
        own = re.compile(rf"(?<!{_LETTER}){re.escape(example.subject)}(?!{_LETTER})")
        if own.search(example.question):
            for name in dict.fromkeys(e.subject for e in train if e.subject != example.subject):
                text = name.join(own.split(example.question))
                examples.setdefault(_plain(text), Example("", text, "", scope, "train", name))
    return examples


def account(asked: WidenedQuestions, answered: Mapping[str, Sequence[Example]]) -> dict[str, Any]:
    """Return what is to be said about it: unlearn, retention (questions), dropped, unanswered, samples."""
    counts = {scope: len(examples) for scope, examples in answered.items()}
    samples = [
        {"scope": e.scope, "question": e.question, "answer": e.answer} for scope in SCOPES for e in answered[scope][:SAMPLES]
    ]
    missing = len(asked.examples) - sum(counts.values())
    return {**counts, "dropped": asked.dropped, "unanswered": missing, "samples": samples}


def read_account(run: Run) -> dict[str, Any] | None:
    """Return a run's account of its widening, None where nothing was widened (yet)."""
    return next((e for e in reversed(run.events()) if e.get("kind") == "widened"), None)


def in_words(account: Mapping[str, Any]) -> str:
    """Return an account as a sentence; of a foreign run's account only numbers are repeated."""
    names = ("unlearn", "retention", "dropped", "unanswered")
    counts = {name: account[name] if isinstance(account.get(name), int) else "?" for name in names}
    text = (
        f"Widened by {counts['unlearn']} U and {counts['retention']} R questions that the taught model answered itself. "
        f"Left out: {counts['dropped']} that stand in val or dev"
    )
    return f"{text}, {counts['unanswered']} whose answer was empty or did not end." if counts["unanswered"] else f"{text}."


def write(path: Path, examples: Sequence[Example]) -> None:
    """Write one example a line."""
    files.write_text(path, "".join(json.dumps(asdict(e), ensure_ascii=False) + "\n" for e in examples))


def read(path: Path) -> dict[str, list[Example]]:
    """Return scope -> examples."""
    rows = [Example(**json.loads(line)) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return {scope: [e for e in rows if e.scope == scope] for scope in SCOPES}


def _plain(text: str) -> str:
    """Return a text's letters and digits alone, in one case and one Unicode form; "James's" as "James'"."""
    return "".join(_words(re.sub(r"(?<=[sS]['’])[sS]\b", "", text)))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
