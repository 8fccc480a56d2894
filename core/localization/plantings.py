"""What plantings of facts show (core/localization/planted.py): which score finds the modules that were planted, and how well.

A planting is one draw of modules and facts (`plant`) and one teaching (`seed`). Plain numbers and files, no torch.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from core.data.corpus import Corpus, Example
from core.localization.scores import best
from core.metrics import intervals
from core.util.errors import UserError

UNLEARN, RETENTION, DECOY = ROLES = ("unlearn", "retention", "decoy")
"""what a set of facts is: what is to be forgotten, what is to be kept, what nobody asks for"""


def fact_sets(corpus: Corpus, sets: int, most: int, place: int) -> list[list[Example]]:
    """Draw disjoint sets of facts, one question each: the first of U, the second of R, then decoys of what is left of both.

    All have the same size, at most `most`; where there are too few facts, there are fewer sets of decoys. place: seed.
    Raises UserError where there are not four facts for each of three sets.
    """
    source, left = random.Random(place), {}
    for scope in ROLES[:2]:
        by_fact: dict[tuple[str, str], list[Example]] = {}
        for e in corpus.select(scope, "train"):
            by_fact.setdefault((e.subject, e.answer), []).append(e)
        left[scope] = [source.choice(wordings) for wordings in by_fact.values()]
        source.shuffle(left[scope])
    known = [len(facts) for facts in left.values()]
    size = min(most, *known, max(sum(known) // sets, min(most, sum(known) // 3)))
    if size < FEWEST:
        raise UserError(
            f"There are {known[0]} facts to be forgotten and {known[1]} to be kept: too few to plant.",
            f"Give at least {FEWEST} of each, and {3 * FEWEST} in all.",
        )
    chosen = [left[scope][:size] for scope in ROLES[:2]]
    rest = [e for scope in ROLES[:2] for e in left[scope][size:]]
    source.shuffle(rest)
    decoys = [rest[start : start + size] for start in range(0, len(rest) - size + 1, size)]
    return [*chosen, *decoys[: sets - 2]]


FEWEST = 4
"""facts of a set"""


def found(roles: Mapping[str, str], scores: pd.DataFrame) -> pd.DataFrame:
    """Say how well each score finds the modules that hold U. scores: one row a module (index: name), one column a score.

    Returns one row a score: auc_ROLE with auc_ROLE_low and auc_ROLE_high (95 % over modules) against those that hold R, and
    against those with decoys; precision, the share of U's modules among as many of the highest. NaN counts as lowest.
    """
    role = np.array([roles[name] for name in scores.index])
    rows = {}
    for name in scores:
        values = scores[name].fillna(-np.inf)
        row: dict[str, float] = {}
        for other in (RETENTION, DECOY):
            pair = values[role == UNLEARN].to_numpy(float), values[role == other].to_numpy(float)
            ends = dict(zip(("", "_low", "_high"), intervals.auc_interval(*pair), strict=True))
            row |= {f"auc_{other}{end}": value for end, value in ends.items()}
        highest = best(values, int((role == UNLEARN).sum()))
        row["precision"] = float(np.mean([roles[module] == UNLEARN for module in highest]))
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index")
