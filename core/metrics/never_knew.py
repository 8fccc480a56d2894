"""Never-knew score: how close the model has come to one that was never taught.

    100 · (1 − |acc_after − acc_never| / (acc_before − acc_never))

100: answers as if never taught. 0: nothing forgotten, or as far below ignorance as knowledge lay above it. Unlike
Unlearn Success it does not reward answers that are pushed into noise. Two variants: all answer tokens, and *knowledge
tokens* (right before, wrong for the never-taught model: the street, not "lives at"), where never is 0 by definition.
"""

from __future__ import annotations

import math

import pandas as pd

from core.metrics.base import Evidence, Metric, Score


def score(before: float, after: float, never: float) -> float:
    """Return the never-knew score of three accuracies in percent; NaN where before knew nothing more than never."""
    return 100.0 * (1 - abs(after - never) / (before - never)) if before > never else math.nan


def compute(evidence: Evidence) -> Score:
    """Return after's scores per split of the unlearn scope, on all answer tokens and on knowledge tokens."""
    if "never" not in evidence.voices():
        return Score({}, reasons={"after": evidence.missing.get("never", "the never-taught model was not recorded")})
    right = evidence.tokens[["example"]].assign(
        **{voice: 100.0 * (evidence.tokens[f"rank_{voice}"] == 1) for voice in ("before", "after", "never")}
    )
    knowledge = right[(right["before"] > 0) & (right["never"] == 0)]
    values: dict[str, float] = {}
    for split in ("train", "dev", "val"):
        ids = set(evidence.ids("unlearn", split))
        for part, table in ((split, right), (f"{split}/knowledge", knowledge)):
            mine = table[table["example"].isin(ids)]
            if len(mine):
                mean = mine.groupby("example").mean().mean()
                values[part] = score(mean["before"], mean["after"], mean["never"])
    known = {part: value for part, value in values.items() if not math.isnan(value)}
    unknown = sorted(set(values) - set(known))
    reasons = {"after": f"on {', '.join(unknown)} before knew no more than the never-taught model"} if unknown else {}
    return Score({"after": known}, {"after": _per_example(right)}, reasons)


def _per_example(right: pd.DataFrame) -> dict[str, float]:
    means = right.groupby("example", sort=False).mean()
    found = {str(i): score(row["before"], row["after"], row["never"]) for i, row in means.iterrows()}
    return {i: value for i, value in found.items() if not math.isnan(value)}


NEVER_KNEW = Metric(
    "never_knew",
    "%",
    "100 when the unlearn scope is answered as by a model that was never taught, whatever Unlearn Success says",
    "high",
    compute,
)
