"""Regions that need no measurement: everything, layers, modules, and tensors picked by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from core.regions.base import Region, reached
from core.settings import setting
from core.util.errors import UserError, unknown

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class All(Region):
    """Every tensor that training can reach: unlearning without localization."""

    name: ClassVar[str] = "all"

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return all tensors that training can reach."""
        return table.loc[reached(table), "name"].tolist()


@dataclass(frozen=True)
class Layers(Region):
    """All tensors of a range of layers."""

    name: ClassVar[str] = "layers"
    first: int = setting(0, "first layer", low=0, high=10_000)
    last: int = setting(10_000, "last layer, included", low=0, high=10_000)

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return the tensors that training can reach in first … last."""
        inside = table["layer"].between(self.first, self.last)
        return table.loc[inside & reached(table), "name"].tolist()

    @classmethod
    def read(cls, argument: str, current: Region) -> Self:
        """Read `layers:4-9`, `layers:4`, or `layers:4-` for all from there on."""
        match = re.fullmatch(r"([0-9]{1,4})(?:(-)([0-9]{1,4})?)?", argument)
        first, last = (int(match[1]), int(match[3] or (cls.last if match[2] else match[1]))) if match else (1, 0)
        if first > last:
            raise UserError(f"“{cls.name}:{argument[:40]}” is not a range of layers.", "Write it as layers:4-9.")
        return cls(first, last)


@dataclass(frozen=True)
class Modules(Region):
    """All tensors of some modules, in every layer."""

    name: ClassVar[str] = "modules"
    modules: tuple[str, ...] = setting((), "module paths or their last part, such as q_proj")

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return the tensors that training can reach in those modules."""
        names = set(table["module"]) | {module.rsplit(".", 1)[-1] for module in table["module"]}
        for module in self.modules:
            if module not in names:
                raise unknown("module", module, names)
        wanted = set(self.modules)
        inside = table["module"].map(lambda module: module in wanted or module.rsplit(".", 1)[-1] in wanted)
        return table.loc[inside & reached(table), "name"].tolist()

    @classmethod
    def read(cls, argument: str, current: Region) -> Self:
        """Read `modules:q_proj,v_proj`."""
        return cls(_names(argument))


@dataclass(frozen=True)
class Cells(Region):
    """A list of tensors given by hand."""

    name: ClassVar[str] = "cells"
    cells: tuple[str, ...] = setting((), "tensor names, as in the localization table")

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return the given tensors that exist and that training can reach."""
        trainable = dict(zip(table["name"], reached(table), strict=True))
        for cell in self.cells:
            if cell not in trainable:
                raise unknown("tensor", cell, trainable)
            if not trainable[cell]:
                raise UserError(f"The tensor {cell} has no gradient.", "Take it out of the region.")
        return [name for name in table["name"] if name in set(self.cells)]

    @classmethod
    def read(cls, argument: str, current: Region) -> Self:
        """Read `cells:a,b`."""
        return cls(_names(argument))


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
