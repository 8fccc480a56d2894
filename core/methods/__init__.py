"""Unlearning methods: one small file each. A new one is a file and a line here."""

from core.methods.base import Context, Method
from core.methods.gradient_ascent import GradientAscent
from core.methods.memflex import MemFlex

METHODS: dict[str, type[Method]] = {method.name: method for method in (MemFlex, GradientAscent)}

__all__ = ["METHODS", "Context", "Method"]
