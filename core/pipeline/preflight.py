"""Does the model know what it should forget? Unlearning something never known is the classic silent mistake.

Pages and the command line read from here what was found: no heavy import.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.config.run_config import RunConfig
from core.data import facts
from core.data.corpus import SCOPES, SPLITS, Example
from core.metrics import accuracy
from core.util.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def knowledge(
    examples: Sequence[Example], tokens: pd.DataFrame, answers: Mapping[str, str], within: Mapping[str, str]
) -> dict[str, Any]:
    """Say what the model knows: accuracy per scope and split, and how many facts of U-train its answers contain.

    examples: those that were asked and scored. within: example -> its true answer as far as an answer may be long; what
    stands after that cannot be asked for. Also "tokens": the accuracy on U-train, by which the model is judged where there
    is no fact at all.
    """
    right = {
        f"{scope}/{split}": accuracy.mean(tokens, "before", [e.id for e in part])
        for scope in SCOPES
        for split in SPLITS
        if (part := [e for e in examples if (e.scope, e.split) == (scope, split)])
    }
    known = asked = 0
    forgotten = [e for e in examples if e.scope == "unlearn" and e.split in ("train", "dev")]
    for example in forgotten:
        wanted = [f for f in facts.facts(example.answer, example.subject) if facts.contains(within[example.id], f)]
        asked += len(wanted)
        known += sum(facts.contains(answers[example.id], fact) for fact in wanted)
    share = 100.0 * known / asked if asked else None
    seen = accuracy.mean(tokens, "before", [e.id for e in forgotten])
    return {"accuracy": right, "tokens": seen, "facts": {"known": known, "asked": asked, "share": share}}


def check(recorded: Mapping[str, Any], config: RunConfig) -> None:
    """Raise UserError where the model does not know what it should forget: by its facts, by its tokens where there are
    none.
    """
    c, counts, minimum = config.answers, recorded["facts"], config.preflight.minimum_facts
    share, why = counts["share"], f"{counts['known']} of {counts['asked']} facts of the unlearn scope stand in its answers"
    fix = "Teach it (--set teach.enabled=true), teach longer, or lower preflight.minimum_facts."
    if share is None:
        share = recorded["tokens"]
        why = (
            f"the first {c.max_new_tokens} tokens of the unlearn scope's answers hold no fact to look for, so the "
            "share of tokens it predicts was taken"
        )
    elif c.temperature > 0:
        fix += " With answers.temperature=0 nothing is left to chance."
    if share < minimum:
        raise UserError(
            f"This model does not know what it should forget: {why} ({share:.0f} %, at least {minimum:.0f} % are needed).",
            fix,
        )


def in_words(recorded: Mapping[str, Any]) -> str:
    """Say in one sentence what the model knows of what it is to forget; nothing where that was not recorded."""
    counts, tokens = recorded.get("facts", {}), recorded.get("tokens")
    if counts.get("share") is not None:
        return f"Before unlearning the model states {counts['known']} of {counts['asked']} facts it is to forget."
    if not isinstance(tokens, int | float):
        return ""
    return (
        f"The answers to forget hold no fact to ask for; before unlearning the model predicts {tokens:.0f} % of their "
        "tokens."
    )
