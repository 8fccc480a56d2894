"""The paper's rule and the two controls that are made from it: as many others, and all others."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from core.regions.base import Region
from core.settings import setting
from core.util.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED: dict[tuple[str, str], tuple[float, float]] = {
    ("llama-2-7b", "copyright"): (0.92, 6e-4),
    ("llama-2-7b", "privacy"): (0.96, 4e-4),
    ("qwen1.5-7b", "copyright"): (0.94, 7e-4),
    ("qwen1.5-7b", "privacy"): (0.94, 2e-4),
}
"""mu and sigma of the paper's Table 12, by model and subset."""


@dataclass(frozen=True)
class Located(Region):
    """MemFlex: cosine below mu and magnitude above sigma (paper, section 3.3)."""

    name: ClassVar[str] = "located"
    thresholds: str = setting(
        "quantile",
        "quantile: mu and sigma are quantiles over the tensors that have a gradient; absolute: they are the values "
        "themselves; published: the paper's Table 12",
        choices=("quantile", "absolute", "published"),
    )
    mu: float = setting(0.5, "cosine of the two scopes' gradients must lie below", low=-1.0, high=1.0, source="Table 12")
    sigma: float = setting(0.5, "mean absolute unlearn gradient must lie above", low=0.0, high=1e6, source="Table 12")
    published: str = setting(
        "llama-2-7b:privacy",
        "whose published thresholds",
        choices=tuple(":".join(key) for key in PUBLISHED),
        source="Table 12",
    )

    def borrowed(self, model: str, subset: str) -> str:
        """Say whose published thresholds these are where they were published for another model or subset; empty where
        not.
        """
        their_model, _, their_subset = self.published.partition(":")
        if self.thresholds != "published" or (their_subset == subset and their_model in model.lower()):
            return ""
        return (
            f"The thresholds are those published for {their_model} on {their_subset}; another model's gradients, or those "
            "of other data, can lie elsewhere."
        )

    def check(self) -> None:
        """Refuse quantiles that are none."""
        if self.thresholds == "quantile" and not (0 <= self.mu <= 1 and 0 <= self.sigma <= 1):
            raise UserError("Quantiles lie between 0 and 1.", "Choose mu and sigma there, or thresholds=absolute.")

    def limits(self, table: pd.DataFrame) -> tuple[float, float]:
        """Return mu and sigma as absolute values for this table."""
        self.check()
        if self.thresholds == "published":
            model, _, subset = self.published.partition(":")
            return PUBLISHED[model, subset]
        if self.thresholds == "absolute":
            return self.mu, self.sigma
        live = table[table["has_gradient"]]
        return float(live["cos"].quantile(self.mu)), float(live["mag_unlearn"].quantile(self.sigma))

    def located(self, table: pd.DataFrame) -> pd.Series:
        """Return the boolean column of the paper's rule."""
        mu, sigma = self.limits(table)
        return (table["has_gradient"] & (table["cos"] < mu) & (table["mag_unlearn"] > sigma)).rename("located")

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return the located tensors."""
        return table.loc[self.located(table), "name"].tolist()

    @classmethod
    def read(cls, argument: str, current: Region) -> Self:
        """Keep the thresholds of the current rule where it has any."""
        super().read(argument, current)
        kept = ("thresholds", "mu", "sigma", "published") if isinstance(current, Located) else ()
        return cls(**{key: getattr(current, key) for key in kept})


@dataclass(frozen=True)
class Swapped(Located):
    """The paper's rule with the scopes exchanged: cosine below mu, magnitude of the *retain* gradient above sigma: a
    control.

    The cosine is the same either way. Were the paper's rule to find what belongs to U, this one would find what belongs to
    R.
    """

    name: ClassVar[str] = "swapped"

    def limits(self, table: pd.DataFrame) -> tuple[float, float]:
        """Return mu and sigma, the latter of retain magnitudes."""
        return super().limits(_exchanged(table))

    def located(self, table: pd.DataFrame) -> pd.Series:
        """Return the boolean column of the exchanged rule."""
        return super().located(_exchanged(table))


def _exchanged(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(mag_unlearn=table["mag_retain"])


@dataclass(frozen=True)
class Complement(Located):
    """Every tensor with a gradient that the paper's rule does not choose: a control."""

    name: ClassVar[str] = "complement"

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return the tensors that are not located."""
        return table.loc[table["has_gradient"] & ~self.located(table), "name"].tolist()


@dataclass(frozen=True)
class Random(Located):
    """As many tensors as the paper's rule chooses, drawn with a seed: the control that matters most."""

    name: ClassVar[str] = "random"
    draw: int = setting(0, "seed of the draw", low=0, high=2**31 - 1)
    same_mix: bool = setting(False, "draw as many of each module and factor as are located")

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return a random choice of equal count."""
        source, chosen = random.Random(self.draw), self.located(table)
        live = table[table["has_gradient"]]
        names: set[str] = set()
        groups = live.groupby(["module", "factor"]) if self.same_mix else [("all", live)]
        for _, group in groups:
            names.update(source.sample(group["name"].tolist(), int(chosen[group.index].sum())))
        return [name for name in table["name"] if name in names]
