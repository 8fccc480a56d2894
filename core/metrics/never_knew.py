"""Never-knew score: how close the model has come to one that was never taught.

    100 · (1 − |acc_after − acc_never| / (acc_before − acc_never))

100: answers as if never taught. 0: nothing forgotten, or as far below ignorance as knowledge lay above it. Unlike
Unlearn Success it does not reward answers that are pushed into noise. Two variants: all answer tokens, and *knowledge
tokens* (right before, wrong for the never-taught model: the street, not "lives at"), where never is 0 by definition.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from core.metrics import bootstrap
from core.metrics.base import Evidence, Metric, Score, bounds


def score(before: float, after: float, never: float) -> float:
    """Return the never-knew score of three accuracies in percent; NaN where before knew nothing more than never."""
    return float(_scores(np.array([[before, after, never]]))[0])


def _scores(accuracies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the score of each row (before, after, never)."""
    before, after, never = accuracies.T
    known = np.where(before > never, before - never, np.nan)
    return 100.0 * (1 - np.abs(after - never) / known)


def compute(evidence: Evidence) -> Score:
    """Return after's scores per split of the unlearn scope, on all answer tokens and on knowledge tokens."""
    if not {"before", "after", "never"} <= set(evidence.voices()):
        return Score({}, reasons={"after": evidence.missing.get("never", "the never-taught model was not recorded")})
    right = evidence.tokens[["example"]].assign(
        **{voice: 100.0 * (evidence.tokens[f"rank_{voice}"] == 1) for voice in ("before", "after", "never")}
    )
    every = right.groupby("example", sort=False).mean()
    knowledge = right[(right["before"] > 0) & (right["never"] == 0)].groupby("example", sort=False).mean()
    values: dict[str, float] = {}
    pairs: dict[str, list[float] | None] = {}
    for split in ("train", "dev", "val"):
        ids = evidence.ids("unlearn", split)
        for part, table in ((split, every), (f"{split}/knowledge", knowledge)):
            mine = table[table.index.isin(ids)].to_numpy(dtype=np.float64)
            if len(mine):
                values[part] = score(*mine.mean(axis=0))
                # Examples are drawn with all three of their accuracies: the score is a ratio of means.
                pairs[part] = bootstrap.interval(_scores(bootstrap.weights(len(mine)) @ mine)) if len(mine) > 1 else None
    known = {part: value for part, value in values.items() if not math.isnan(value)}
    unknown = sorted(set(values) - set(known))
    reasons = {"after": f"on {', '.join(unknown)} before knew no more than the never-taught model"} if unknown else {}
    each = {str(i): float(v) for i, v in zip(every.index, _scores(every.to_numpy(dtype=np.float64)), strict=True)}
    intervals = bounds({part: pair for part, pair in pairs.items() if part in known})
    return Score(
        {"after": known}, {"after": {i: v for i, v in each.items() if not math.isnan(v)}}, reasons, {"after": intervals}
    )


NEVER_KNEW = Metric(
    "never_knew",
    "%",
    "100 when the unlearn scope is answered as by a model that was never taught, whatever Unlearn Success says",
    "high",
    compute,
)
