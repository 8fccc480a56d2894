"""What a region rule takes, in a reader's words: `late` with 33 % is "the last third of the layers"."""

from __future__ import annotations

from core.regions.base import Region
from core.regions.fixed import All, Cells, Layers, Modules
from core.regions.located import Complement, Located, Random, Swapped
from core.regions.scored import Scored
from core.regions.top import Top
from core.regions.top_layers import Late, RatioLayers, Separable

FRACTIONS = {"33%": "third", "25%": "quarter", "50%": "half"}
SCORED = {
    "removal": "whose loss costs what is to be forgotten most",
    "update": "that changed most when the facts were taught",
}
"""score -> the modules that it puts first"""


def words(rule: Region) -> str:
    """Return what a rule takes, to be read after "the region: ". Raises TypeError for a rule that has no words here."""
    match rule:
        case Complement():
            return "every cell that the paper’s rule leaves out"
        case Random():
            return "cells drawn at random, as many as the paper’s rule takes"
        case Swapped():
            return "cells with a strong pull to keep that is little shared with what is to be forgotten"
        case Located():
            return "cells with a strong pull to forget that is little shared with what is kept"
        case Top():
            return f"the {_amount(rule.amount)}cells whose pull to forget is strongest and least shared"
        case Scored():
            return f"the {_amount(rule.amount)}modules {SCORED[rule.score]}"
        case Late():
            return f"the last {_layers(rule.amount)}"
        case RatioLayers():
            return f"the {_layers(rule.amount)} that pull most to forget and least to keep"
        case Separable():
            return f"the {_layers(rule.amount)} that best tell questions to forget from questions to keep"
        case Layers():
            return _range(rule.first, rule.last)
        case Modules():
            return f"{' and '.join(filter(None, (', '.join(rule.modules[:-1]), *rule.modules[-1:])))} of every layer"
        case Cells():
            return "the one cell that was picked" if len(rule.cells) == 1 else f"{len(rule.cells)} cells that were picked"
        case All():
            return "every cell"
    raise TypeError(f"{type(rule).__name__} has no words")


def _amount(text: str) -> str:
    """Write a share as "20 % of ", a number as it is."""
    share = text.strip()
    return f"{share.removesuffix('%').strip()} % of " if share.endswith("%") else f"{share} "


def _layers(text: str) -> str:
    """Write how many layers, after "the" or "the last"."""
    share = text.replace(" ", "")
    if share == "1":
        return "layer"
    if share in FRACTIONS:
        return f"{FRACTIONS[share]} of the layers"
    return f"{_amount(share)}{'the ' if '%' in share else ''}layers"


def _range(first: int, last: int) -> str:
    if first == last:
        return f"layer {first}"
    if last == Layers.last:
        return "every layer" if first == 0 else f"every layer from {first} on"
    return f"layers {first} to {last}"
