"""The scores: each a function of what was recorded of the modules' updates, and one plain sentence.

A record (core/localization/recorder.py) has one row a module. G is the gradient of the loss towards random answers with
respect to the module's update ΔW, M that of the margin of the true answers' fact tokens; U is what is to be forgotten, R
what is to be kept. Columns: norm_update ‖ΔW‖; norm_unlearn |G_U|, norm_retain |G_R| and cos between them;
squares_unlearn and squares_retain, the means over examples of |g|²; margin_unlearn |M_U|, margin_retain |M_R|, margin_cos;
removal_unlearn ⟨M_U, ΔW⟩ and removal_retain; draw, a random number. NaN where nothing could be recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Score:
    """One way to say how much a module is about U and not about R: the higher, the more."""

    name: str
    """its column"""
    title: str
    """what it is called in a table"""
    sentence: str
    """what it says, for the reader of a heatmap"""
    of: Callable[[pd.DataFrame], pd.Series[float]]
    """record -> score of each row"""


def apart(norm: pd.Series[float], cos: pd.Series[float]) -> pd.Series[float]:
    """Return the length of that part of a gradient which stands at right angles to the other scope's."""
    return norm * (1 - cos**2).pow(0.5)


def pull(record: pd.DataFrame) -> pd.Series[float]:
    """|G_U| · √(1 − cos²) · ‖ΔW‖."""
    return apart(record["norm_unlearn"], record["cos"]) * record["norm_update"]


def ratio(record: pd.DataFrame) -> pd.Series[float]:
    """log(|G_U| / |G_R|)."""
    return (record["norm_unlearn"] / record["norm_retain"]).map(math.log)


def fisher(record: pd.DataFrame) -> pd.Series[float]:
    """Mean |g|² over U's examples less that over R's: the traces of the two empirical Fisher matrices."""
    return record["squares_unlearn"] - record["squares_retain"]


def margin(record: pd.DataFrame) -> pd.Series[float]:
    """|M_U| · √(1 − cos²) · ‖ΔW‖."""
    return apart(record["margin_unlearn"], record["margin_cos"]) * record["norm_update"]


def removal(record: pd.DataFrame) -> pd.Series[float]:
    """⟨M_U, ΔW⟩ − ⟨M_R, ΔW⟩: to first order, by how much more U's margin falls than R's where ΔW is taken away."""
    return record["removal_unlearn"] - record["removal_retain"]


def update(record: pd.DataFrame) -> pd.Series[float]:
    """‖ΔW‖."""
    return record["norm_update"]


def chance(record: pd.DataFrame) -> pd.Series[float]:
    """Return a number that was drawn for the module."""
    return record["draw"]


SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        Score(
            "pull",
            "Pull to forget",
            "How strongly the module is pulled to forget, in ways that what is kept does not share.",
            pull,
        ),
        Score(
            "ratio",
            "Pull to forget against pull to keep",
            "How much more strongly what is to be forgotten pulls at it than what is kept.",
            ratio,
        ),
        Score(
            "fisher",
            "Sensitivity of single questions",
            "How much more sensitive single questions to be forgotten are to it than those to be kept.",
            fisher,
        ),
        Score(
            "margin",
            "Margin of the facts",
            "How far it moves the facts to be forgotten away from other words, apart from facts kept.",
            margin,
        ),
        Score(
            "removal",
            "Loss without it, estimated",
            "How much more the facts to be forgotten should lose without it than the facts kept.",
            removal,
        ),
        Score(
            "update",
            "Size of the change",
            "How large the change is that teaching made here; nothing about what was taught.",
            update,
        ),
        Score("chance", "Chance", "A random number, which every other score should beat.", chance),
    )
}


def scored(record: pd.DataFrame, names: Collection[str] = SCORES) -> pd.DataFrame:
    """Return the record with one more column a score."""
    return record.assign(**{name: SCORES[name].of(record) for name in names})


def best(values: pd.Series[float], count: int) -> list[Any]:
    """Return the labels of the highest values, best first; of equal ones the earlier. Never those that are NaN."""
    return list(values.dropna().sort_values(ascending=False, kind="stable").index[:count])
