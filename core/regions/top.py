"""Tensors by divergence score: the paper's two thresholds in one number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from core.regions.base import Region, amount_of
from core.settings import setting

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Top(Region):
    """The tensors with the highest divergence: gradients that point apart, and a large one for what must be forgotten.

    divergence = (1 − cos(G_U, G_R)) · mean|G_U|. One number instead of the paper's two thresholds, so the size is given
    exactly. Source: ours, from the two criteria of the paper, section 3.3.
    """

    name: ClassVar[str] = "top"
    amount: str = setting(
        "20%", "how many tensors: a share of those that have a gradient such as 20%, or a number such as 80"
    )

    def __post_init__(self) -> None:
        """Refuse what is no amount before a run starts."""
        amount_of(self.amount, 0, "tensors")

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return the tensors with the highest divergence; of equal ones those that come first."""
        live = table[table["has_gradient"]]
        count = amount_of(self.amount, len(live), "tensors with a gradient")
        best = live.sort_values("divergence", ascending=False, kind="stable")["name"].head(count)
        return live.loc[live["name"].isin(set(best)), "name"].tolist()

    @classmethod
    def read(cls, argument: str, current: Region) -> Self:
        """Read `top`, `top:20%` or `top:80`."""
        return cls(argument) if argument else cls()
