"""Layers by the ratio of forget to retain gradient, as FOM-UL chooses them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.regions.base import TopLayers

if TYPE_CHECKING:
    import pandas as pd


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
