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

from core.metrics import intervals
from core.metrics.base import Evidence, Metric, Score, bounds

ROUNDING = 1e-9
"""points by which two means of the same numbers may differ, added in another order"""


def score(before: float, after: float, never: float) -> float:
    """Return the never-knew score of three accuracies in percent; NaN where before knew nothing more than never."""
    return float(_scores(np.array([[before, after, never]]))[0])


def _scores(accuracies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the score of each row (before, after, never)."""
    before, after, never = accuracies.T
    gap = np.where(before - never > ROUNDING, before - never, np.nan)
    return 100.0 * (1 - np.abs(after - never) / gap)


def compute(evidence: Evidence) -> Score:
    """Return after's scores per split of the unlearn scope, on all answer tokens and on knowledge tokens.

    SPLIT and SPLIT/knowledge are against the model that was never taught anything; the same with /retrained at the end are
    against the one taught without U, where that was made. Per example: all tokens, against the former.
    """
    voices = evidence.voices()
    if not {"before", "after", "never"} <= set(voices):
        why = [evidence.missing[voice] for voice in ("never", "before", "after") if voice in evidence.missing]
        return Score({}, reasons={"after": why[0] if why else "the never-taught model was not recorded"})
    score = Score({"after": {}}, intervals={"after": {}})
    unknown: list[str] = []
    for reference, suffix in (("never", ""), ("retrained", "/retrained")):
        if reference not in voices:
            continue
        columns = {voice: 100.0 * (evidence.tokens[f"rank_{voice}"] == 1) for voice in ("before", "after", reference)}
        right = evidence.tokens[["example"]].assign(**columns)
        every = right.groupby("example", sort=False).mean()
        knowledge = right[(right["before"] > 0) & (right[reference] == 0)].groupby("example", sort=False).mean()
        for split in ("train", "dev", "val"):
            for part, table in ((f"{split}{suffix}", every), (f"{split}/knowledge{suffix}", knowledge)):
                mine = table[table.index.isin(evidence.ids("unlearn", split))].to_numpy(dtype=np.float64)
                if len(mine):
                    unknown += [] if _add(score, part, mine) else [part]
        if not suffix:
            each = {str(i): float(v) for i, v in zip(every.index, _scores(every.to_numpy(dtype=np.float64)), strict=True)}
            score.examples["after"] = {i: v for i, v in each.items() if not math.isnan(v)}
    if unknown:
        score.reasons["after"] = f"on {', '.join(sorted(unknown))} before knew no more than the never-taught model"
    return score


def _add(into: Score, part: str, table: NDArray[np.float64]) -> bool:
    """Put a part's score with its interval into a score, from rows (before, after, reference); False where it has none."""
    value = score(*table.mean(axis=0))
    if math.isnan(value):
        return False
    into.values["after"][part] = value
    # Examples are drawn with all three of their accuracies: the score is a ratio of means.
    pair = intervals.interval(_scores(intervals.weights(len(table)) @ table)) if len(table) > 1 else None
    into.intervals["after"] |= bounds({part: pair})
    return True


NEVER_KNEW = Metric(
    "never_knew",
    "%",
    "100 when the unlearn scope is answered as by a model that was never taught, whatever Unlearn Success says",
    "high",
    compute,
)
