"""Unlearning methods: one small file each. A new one is a file and a line here."""

from core.methods.base import Method
from core.methods.base_ce_u import BaseCEU
from core.methods.ce_u import CEU
from core.methods.gradient_ascent import GradientAscent
from core.methods.memflex import MemFlex
from core.methods.never_taught import NeverTaught

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        MemFlex,
        GradientAscent,
        CEU,
        BaseCEU,
        NeverTaught,
    )
}

__all__ = ["METHODS", "Method"]
