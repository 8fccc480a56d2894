"""Can a reader tell KnowUnDo's two scopes apart? What nobody can read out of a question, unlearning cannot learn either.

A linear reader of words learns from train, with names masked, which questions are to be forgotten. Its penalty is chosen on
dev; val is then sorted once. It reads the question alone, or the true answer as well, which no model that is asked has.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from core.config.run_config import RunConfig
from core.data import sources
from core.data.corpus import SCOPES, Example
from core.util.paths import ROOT

PENALTIES = (1e-5, 1e-4, 1e-3)
LONGEST = 3
"""words of a phrase that is looked at"""


def measure() -> dict[str, str]:
    """Return per scope how many questions of val are sorted rightly: by the question alone, and with the true answer."""
    copy = ROOT.parent / "shared" / "knowundo"
    source = str(copy) if copy.is_dir() else "knowundo"
    given = dataclasses.replace(RunConfig().data, source=source, subset="privacy", dev_share=0.2)
    corpus = sources.load(given, 0)
    parts = [[e for scope in SCOPES for e in corpus.select(scope, split)] for split in ("train", "dev", "val")]
    figures = {}
    for name, answered in (("question", False), ("question_and_answer", True)):
        for scope, words in _sorted(*parts, answered=answered).items():
            figures[f"scopes_told_apart_by_{name}_{scope}"] = words
    return figures


def _sorted(train: Sequence[Example], dev: Sequence[Example], val: Sequence[Example], *, answered: bool) -> dict[str, str]:
    seen = Counter(phrase for e in train for phrase in _phrases(e, answered=answered))
    places = {phrase: n for n, phrase in enumerate(phrase for phrase, times in seen.items() if times > 1)}
    of = {id(part): _matrix((_phrases(e, answered=answered) for e in part), places) for part in (train, dev, val)}
    readers = [_reader(of[id(train)], _labels(train), penalty) for penalty in PENALTIES]
    best = max(readers, key=lambda reader: sum(_shares(reader(of[id(dev)]), dev).values()))
    said = best(of[id(val)])
    asked = Counter(e.scope for e in val)
    return {s: f"{round(share * asked[s])} of {asked[s]}" for s, share in _shares(said, val).items()}


def _phrases(example: Example, *, answered: bool) -> set[str]:
    text = f"{example.question} {example.answer if answered else ''}"
    for name in example.subject.split():
        text = text.replace(name, "_")
    words = re.findall(r"[a-z0-9']+|_", text.lower())
    return {" ".join(words[i : i + size]) for size in range(1, LONGEST + 1) for i in range(len(words) - size + 1)}


def _matrix(texts: Iterable[set[str]], places: dict[str, int]) -> torch.Tensor:
    rows = []
    for phrases in texts:
        row = torch.zeros(len(places))
        row[[places[phrase] for phrase in phrases if phrase in places]] = 1.0
        rows.append(row)
    return normalize(torch.stack(rows))


def _labels(examples: Sequence[Example]) -> torch.Tensor:
    return torch.tensor([float(e.scope == "unlearn") for e in examples])


def _reader(texts: torch.Tensor, labels: torch.Tensor, penalty: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Fit a logistic regression in which both scopes weigh the same; return what says which texts are to be forgotten."""
    weight, bias = torch.zeros(texts.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    balance = (len(labels) - labels.sum()) / labels.sum()
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        error = binary_cross_entropy_with_logits(texts @ weight + bias, labels, pos_weight=balance)
        value = error + penalty * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return lambda others: (others @ weight + bias > 0).detach()


def _shares(forget: torch.Tensor, examples: Sequence[Example]) -> dict[str, float]:
    right = (forget == _labels(examples).bool()).tolist()
    asked = Counter(e.scope for e in examples)
    return {s: sum(r for r, e in zip(right, examples, strict=True) if e.scope == s) / n for s, n in asked.items()}
