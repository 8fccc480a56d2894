"""Widening: more questions of each scope's kind, so that forgetting and keeping reach beyond the given wording.

After NAUF (arXiv 2407.10058): each scope's train questions are asked about the other subjects too, and the taught model
answers them itself. What then coincides with a question that exists already, in train, dev or val, is left out.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core import store
from core.adapters import Adapters
from core.answers import Request, generate
from core.batching import prompt_ids
from core.data import SCOPES, Corpus, Example
from core.errors import UserError
from core.progress import Reporter
from core.voices import Voices


@dataclass(frozen=True)
class Asked:
    """Questions without answers yet."""

    examples: list[Example]
    dropped: int
    """questions that were left out because they coincide with one of val or dev"""


def questions(corpus: Corpus, count: int, seed: int) -> Asked:
    """Return up to `count` questions of each scope, drawn with a seed. Raises UserError where none can be made."""
    known = {_plain(e.question): e.split for e in corpus.examples}
    subjects = [name for name in corpus.subjects() if name]
    found: list[Example] = []
    dropped = 0
    for scope in SCOPES:
        made: dict[str, Example] = {}
        for example in corpus.select(scope, "train"):
            if not example.subject or example.subject not in example.question:
                continue
            for name in subjects:
                text = example.question.replace(example.subject, name)
                key = _plain(text)
                if key in known:
                    dropped += known[key] in ("val", "dev")
                elif key not in made:
                    made[key] = Example("", text, "", scope, "train", name)
        chosen = random.Random(f"{seed}/{scope}").sample(sorted(made), min(count, len(made)))
        found += [
            Example(f"{scope}/widened/{number}", made[key].question, "", scope, "train", made[key].subject)
            for number, key in enumerate(chosen)
        ]
    if not found:
        raise UserError(
            "No question can be widened: none contains the name of its subject, or there is only one subject.",
            "Set data.widen=0, or give the data a column subject.",
        )
    return Asked(found, dropped)


def answered(asked: Asked, voices: Voices, adapters: Adapters, report: Reporter) -> list[Example]:
    """Let the taught model answer, greedily; answers that would be empty or too long are left out."""
    c, tokenizer = voices.config, voices.tokenizer
    ordered = sorted(asked.examples, key=lambda e: (len(e.question), e.id))
    size, found = 2 * c.answers.batch_size, []
    for start in range(0, len(ordered), size):
        report.check()
        part = ordered[start : start + size]
        requests = [Request(tuple(prompt_ids(tokenizer, c.model.template, e.question)), "before") for e in part]
        made = generate(adapters, requests, c.answers, end=voices.end, pad=voices.pad)
        for example, tokens in zip(part, made, strict=True):
            text = tokenizer.decode(tokens, skip_special_tokens=True).strip()
            if text:
                found.append(Example(**{**asdict(example), "answer": text}))
        report.progress(min(start + size, len(ordered)), len(ordered), "widened", tokens=sum(map(len, made)))
    return sorted(found, key=lambda e: (e.scope, int(e.id.rpartition("/")[2])))


def write(path: Path, examples: Sequence[Example]) -> None:
    """Write one example a line."""
    store.write_text(path, "".join(json.dumps(asdict(e), ensure_ascii=False) + "\n" for e in examples))


def read(path: Path) -> dict[str, list[Example]]:
    """Return scope -> examples."""
    rows = [Example(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    return {scope: [e for e in rows if e.scope == scope] for scope in SCOPES}


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
