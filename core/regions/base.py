"""What every region rule is, and how much of something a setting asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from core.util.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Region:
    """A rule that picks tensors; see the package's docstring."""

    name: ClassVar[str]

    def check(self) -> None:
        """Raise UserError for settings that exclude each other. Asked when a run is made: until then they come one by
        one.
        """

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return the chosen tensor names, in table order."""
        raise NotImplementedError

    @classmethod
    def read(cls, argument: str, current: Region) -> Self:
        """Make a rule of what follows its name and a colon in `--region`. current: the rule that is replaced."""
        if argument:
            raise UserError(f"The region “{cls.name}” takes nothing after its name, not “{argument}”.", f"Write {cls.name}.")
        return cls()


def amount_of(text: str, total: int, what: str) -> int:
    """Return how many of `total` things an amount asks for: `20%` is a share, `5` a number.

    A share is rounded to the nearest whole number, at least 1. Raises UserError for what is no amount and, where total
    is above 0, for more than there are.
    """
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*%|([0-9]{1,9})", text.strip())
    share, number = (float(match[1]) if match[1] else None, int(match[2] or 0)) if match else (0.0, 0)
    if (share is not None and not 0 < share <= 100) or (share is None and number < 1):
        raise UserError(f"“{text[:40]}” is no amount of {what}.", "Write a share such as 20%, or a number such as 5.")
    if share is not None:
        # Not round(): of two neighbours equally far away it takes the even one, 2 for 2.5.
        return max(1, int(total * share / 100 + 0.5))
    if total and number > total:
        raise UserError(f"There are {total} {what}, fewer than {number}.", "Ask for fewer, or for a share such as 20%.")
    return number


def reached(table: pd.DataFrame) -> pd.Series[bool]:
    """Say of each tensor whether training can reach it: whether its module's update gets a gradient by any factor.

    Of an update that is fresh, B is zero, and so is the gradient of A until B has moved.
    """
    module = table["name"].str.rsplit(".lora_", n=1).str[0]
    return table["has_gradient"].groupby(module, sort=False).transform("any")
