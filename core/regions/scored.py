"""Modules by a score of the update that each applies (core/localization/scores.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from core.regions.base import Region, amount_of, reached
from core.settings import setting
from core.util.errors import UserError, unknown

if TYPE_CHECKING:
    import pandas as pd

SCORES = ("removal", "update")
"""those of core/localization/scores.py that a run computes: the one that finds planted facts, and what it is held against"""
COLUMN = "score_{}"
"""of the localization table, where modules were scored: both factors of a module have its score"""


@dataclass(frozen=True)
class Scored(Region):
    """Both factors of the modules with the highest score. What scale A and B have does not matter. Ours."""

    name: ClassVar[str] = "score"
    score: str = setting("removal", "which score of the modules decides", choices=SCORES)
    amount: str = setting("20%", "how many modules: a share of those that were scored such as 20%, or a number such as 40")

    def __post_init__(self) -> None:
        """Refuse what is no amount before a run starts."""
        amount_of(self.amount, 0, "modules")

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return the tensors of the highest modules; of equal ones those that come first."""
        column = COLUMN.format(self.score)
        if column not in table:
            raise UserError("This run's modules were not scored.", "Set localize.scores=true and localize again.")
        live = table[reached(table)].dropna(subset=[column])
        module = live["name"].str.rsplit(".lora_", n=1).str[0]
        scores = live.groupby(module, sort=False)[column].first().sort_values(ascending=False, kind="stable")
        wanted = set(scores.index[: amount_of(self.amount, len(scores), "modules")])
        return live.loc[module.isin(wanted), "name"].tolist()

    @classmethod
    def read(cls, argument: str, current: Region) -> Self:
        """Read `score`, `score:removal` or `score:removal:20%`."""
        score, _, amount = argument.partition(":")
        score = score.strip() or cls.score
        if score not in SCORES:
            raise unknown("score", score, SCORES)
        return cls(score, amount.strip() or cls.amount)
