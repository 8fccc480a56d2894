"""Layers that know whether a question is about what must be forgotten: our own rule, and an open question.

A tensor can act on U and not on R only if what its layer reads tells one from the other. So instead of where the
gradients of the scopes differ, this rule takes the layers whose input separates their questions best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.regions.base import TopLayers
from core.util.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Separable(TopLayers):
    """Layers at which a straight cut tells unlearn questions from retention questions best.

    Layers ranked by the AUC of a linear probe "U or R question?" on the hidden state that the layer reads, at the
    question's last token, cross-validated on train (core/pipeline/separability.py). AUCs are rounded to .01, since folds
    drawn anew move them by as much: of layers that are equal then, the later ones are taken. The default takes as many
    layers as `late` and `ratio-layers`, so that the three can be compared. Source: ours; whether it is any better is for
    controls to show.
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
