"""What scopes, kinds of question and splits are called; scopes in pictures and small print: `charts.base.SCOPE_NAMES`."""

from collections.abc import Iterable, Mapping
from typing import Any

from core.data import corpus
from core.data.corpus import EVERYDAY, NOBODY, UNKNOWN
from core.runs.asked import KIND_NAMES

SCOPES = {"unlearn": "✖ To forget", "retention": "● To keep"}
ALSO_ASKED = {UNKNOWN: "○ Told nowhere", EVERYDAY: "○ Everyday", NOBODY: "○ About nobody here"}
"""scopes that are asked and judged apart from the two"""
KINDS = {kind: KIND_NAMES[kind][:1].upper() + KIND_NAMES[kind][1:] for kind in corpus.KINDS}
"""where questions are chosen"""
SCORE_SPLITS = ("val", "train", "dev")
"""splits in which scores are chosen, those that say the most first"""
IN_WORDS = {
    "val": "questions held out from unlearning (val)",
    "train": "questions in taught wording (train)",
    "dev": "questions held out to choose settings (dev)",
}
"""splits within a sentence"""


def kind(row: Mapping[str, Any]) -> str:
    """Return the kind of question of a line of a run's answers; a split that nobody knows stays what it is."""
    return corpus.kind_of(str(row.get("split", "")), row.get("kind") == "other")


def scope_name(scope: str) -> str:
    """Return what a scope is called, of one that nobody knows its own word."""
    return SCOPES.get(scope) or ALSO_ASKED.get(scope) or scope


def kinds_of(kinds: Iterable[str]) -> list[str]:
    """Return the kinds of question that are there, as pickers offer them."""
    there = set(kinds)
    return [name for name in KINDS if name in there]
