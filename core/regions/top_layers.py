"""Whole layers, ranked by a number: by place, by the ratio of the scopes' gradients, by how well they tell U from R.

The defaults take equally many layers, so that the rules can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from core.regions.base import Region, amount_of, reached
from core.settings import setting
from core.util.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TopLayers(Region):
    """A rule that ranks layers and takes all tensors of the first ones."""

    amount: str = setting("33%", "how many layers: a share of them such as 33%, or a number such as 5")

    def __post_init__(self) -> None:
        """Refuse what is no amount before a run starts."""
        amount_of(self.amount, 0, "layers")

    def ranks(self, live: pd.DataFrame) -> pd.Series:
        """Return one value a layer, the best ones highest; layers with NaN are never taken.

        live: the rows of tensors that lie in a layer and have a gradient.
        """
        raise NotImplementedError

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return the tensors that training can reach in the best layers; of equal layers the later ones, which cost less to
        train.
        """
        inside = table[table["layer"] >= 0]
        count = amount_of(self.amount, inside["layer"].nunique(), "layers")
        live = inside[reached(inside)]
        ranks = self.ranks(live[live["has_gradient"]]).dropna()
        best = sorted(ranks.index, key=lambda layer: (ranks[layer], layer), reverse=True)[:count]
        return live.loc[live["layer"].isin(best), "name"].tolist()

    @classmethod
    def read(cls, argument: str, current: Region) -> Self:
        """Read `late`, `late:10` or `late:33%`."""
        return cls(argument) if argument else cls()


@dataclass(frozen=True)
class Late(TopLayers):
    """All tensors of the last layers: a plain rule that any localization should beat.

    Layers ranked by their number. Source: our own trials (the last 5 and 10 of 30 layers did better than the paper's rule
    at equal cost, chosen on few questions).
    """

    name: ClassVar[str] = "late"

    def ranks(self, live: pd.DataFrame) -> pd.Series:
        """Rank by place."""
        return live.groupby("layer")["layer"].first().astype(float)


@dataclass(frozen=True)
class RatioLayers(TopLayers):
    """Layers whose forget gradient is largest against their retain gradient.

    ratio(layer) = ‖g_f‖ / ‖g_r‖, each norm over all tensors of the layer: √Σ_i ‖G_U,i‖² / √Σ_i ‖G_R,i‖². Source: FOM-UL.
    Its gradients are those of the losses; ours are the ones of the localize stage, towards random answers.
    """

    name: ClassVar[str] = "ratio-layers"

    def ranks(self, live: pd.DataFrame) -> pd.Series:
        """Rank by the ratio of norms."""
        squares = live[["norm_unlearn", "norm_retain"]].pow(2).groupby(live["layer"]).sum()
        return (squares["norm_unlearn"] / squares["norm_retain"]).pow(0.5)


@dataclass(frozen=True)
class Separable(TopLayers):
    """Layers at which a straight cut tells unlearn questions from retention questions best.

    A tensor can act on U and not on R only if what its layer reads tells one from the other. So instead of where the
    gradients of the scopes differ, this rule takes the layers whose input separates their questions best.

    Layers ranked by the AUC of a linear probe "U or R question?" on the hidden state that the layer reads, at the
    question's last token, cross-validated on train (core/localization/separability.py). AUCs are rounded to .01, since folds
    drawn anew move them by as much: of layers that are equal then, the later ones are taken. Source: ours; whether it is
    any better is for controls to show.
    """

    name: ClassVar[str] = "separable"

    def ranks(self, live: pd.DataFrame) -> pd.Series:
        """Rank by the probe's AUC. Raises UserError where the run has none."""
        if "auc" not in live:
            raise UserError(
                "This run was localized before separability was measured.", "Start it anew, or choose another region rule."
            )
        ranks = live.groupby("layer")["auc"].first()
        if ranks.isna().all():
            raise UserError(
                "There are too few train questions to measure how separable the scopes are.", "Choose another region rule."
            )
        return ranks.round(2)
