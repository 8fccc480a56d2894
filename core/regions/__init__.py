"""The rules that pick the region: which adapter tensors unlearning may change.

A rule is a frozen dataclass whose fields are its settings; `select` takes the localization table (one row a tensor: name,
layer, module, factor, cos, mag_unlearn, norm_unlearn, norm_retain, divergence, auc of its layer, has_gradient, …) and
returns tensor names. Only tensors that have a gradient can be chosen. May use settings and util; no torch. Begin with
`base`, then `located`, the paper's rule. A new rule is a class in a small file and a line in REGIONS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.regions.base import Region
from core.regions.fixed import All, Cells, Layers, Modules
from core.regions.located import PUBLISHED, Complement, Located, Random, Swapped
from core.regions.scored import Scored
from core.regions.top import Top
from core.regions.top_layers import Late, RatioLayers, Separable
from core.util.errors import UserError, unknown

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "PUBLISHED",
    "REGIONS",
    "All",
    "Cells",
    "Complement",
    "Late",
    "Layers",
    "Located",
    "Modules",
    "Random",
    "RatioLayers",
    "Region",
    "Scored",
    "Separable",
    "Swapped",
    "Top",
    "choose",
    "parse",
]


REGIONS: dict[str, type[Region]] = {
    rule.name: rule
    for rule in (
        Located,
        All,
        Random,
        Complement,
        Swapped,
        Top,
        Scored,
        Late,
        RatioLayers,
        Separable,
        Layers,
        Modules,
        Cells,
    )
}


def parse(text: str, current: Region) -> Region:
    """Turn `located`, `top:20%`, `score:removal`, `layers:4-9`, `modules:q_proj,v_proj` or `cells:a,b` into a rule.

    Thresholds of the current rule are kept where the new one has them too.
    """
    name, _, argument = text.partition(":")
    if name not in REGIONS:
        raise unknown("region rule", name, REGIONS)
    return REGIONS[name].read(argument.strip(), current)


def choose(rule: Region, table: pd.DataFrame) -> list[str]:
    """Apply a rule. Raises UserError when it selects nothing, or everything although it should locate."""
    chosen = rule.select(table)
    live = int(table["has_gradient"].sum())
    # The complement holds what the thresholds leave: what widens every other rule narrows it.
    takes, wider, narrower = "select", "Raise mu or lower sigma", "Lower mu or raise sigma"
    if isinstance(rule, Complement):
        takes, wider, narrower = "leave", narrower, wider
    if not chosen and isinstance(rule, Located):
        raise UserError(f"The thresholds {takes} no tensor.", f"{wider}, or choose another region rule.")
    if not chosen:
        raise UserError(f"The region “{rule.name}” holds no tensor with a gradient.", "Change it, or choose another rule.")
    if len(chosen) == live and isinstance(rule, Located):
        raise UserError(f"The thresholds {takes} every tensor.", f"{narrower}, or choose the region “all”.")
    return chosen
