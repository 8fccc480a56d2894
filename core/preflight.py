"""Does the model know what it should forget? Unlearning something never known is the classic silent mistake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from core import facts
from core.corpus import SCOPES, SPLITS, Corpus
from core.metrics import accuracy


def knowledge(corpus: Corpus, tokens: pd.DataFrame, answers: Mapping[str, str]) -> dict[str, Any]:
    """Say what the model knows: accuracy per scope and split, and how many facts of U-train its answers contain."""
    right = {
        f"{scope}/{split}": accuracy.mean(tokens, "before", [e.id for e in part])
        for scope in SCOPES
        for split in SPLITS
        if (part := corpus.select(scope, split))
    }
    known = asked = 0
    for example in corpus.select("unlearn", ("train", "dev")):
        wanted = facts.facts(example.answer, example.subject)
        asked += len(wanted)
        known += sum(facts.contains(answers[example.id], fact) for fact in wanted)
    share = 100.0 * known / asked if asked else None
    return {"accuracy": right, "facts": {"known": known, "asked": asked, "share": share}}
