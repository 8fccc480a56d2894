"""The rules that pick the region: which adapter tensors unlearning may change.

A rule is a frozen dataclass whose fields are its settings; `select` takes the localization table (one
row a tensor: name, layer, module, factor, cos, mag_unlearn, has_gradient, …) and returns tensor names.
Only tensors that have a gradient can be chosen. A new rule is a class and a line in REGIONS.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from core.errors import UserError, unknown
from core.settings import setting

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
class Region:
    """A rule that picks tensors; see the module's docstring."""

    name: ClassVar[str]

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return the chosen tensor names, in table order."""
        raise NotImplementedError


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

    def limits(self, table: pd.DataFrame) -> tuple[float, float]:
        """Return mu and sigma as absolute values for this table."""
        if self.thresholds == "published":
            model, _, subset = self.published.partition(":")
            return PUBLISHED[model, subset]
        if self.thresholds == "absolute":
            return self.mu, self.sigma
        if not (0 <= self.mu <= 1 and 0 <= self.sigma <= 1):
            raise UserError("Quantiles lie between 0 and 1.", "Choose mu and sigma there, or thresholds=absolute.")
        live = table[table["has_gradient"]]
        return float(live["cos"].quantile(self.mu)), float(live["mag_unlearn"].quantile(self.sigma))

    def located(self, table: pd.DataFrame) -> pd.Series:
        """Return the boolean column of the paper's rule."""
        mu, sigma = self.limits(table)
        return (table["has_gradient"] & (table["cos"] < mu) & (table["mag_unlearn"] > sigma)).rename("located")

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return the located tensors."""
        return table.loc[self.located(table), "name"].tolist()


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


@dataclass(frozen=True)
class All(Region):
    """Every tensor that has a gradient: unlearning without localization."""

    name: ClassVar[str] = "all"

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return all tensors with a gradient."""
        return table.loc[table["has_gradient"], "name"].tolist()


@dataclass(frozen=True)
class Layers(Region):
    """All tensors of a range of layers."""

    name: ClassVar[str] = "layers"
    first: int = setting(0, "first layer", low=0, high=10_000)
    last: int = setting(10_000, "last layer, included", low=0, high=10_000)

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return the tensors with a gradient in first … last."""
        inside = table["layer"].between(self.first, self.last)
        return table.loc[inside & table["has_gradient"], "name"].tolist()


@dataclass(frozen=True)
class Modules(Region):
    """All tensors of some modules, in every layer."""

    name: ClassVar[str] = "modules"
    modules: tuple[str, ...] = setting((), "module paths or their last part, such as q_proj")

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return the tensors with a gradient in those modules."""
        known = set(table["module"]) | {module.rsplit(".", 1)[-1] for module in table["module"]}
        for module in self.modules:
            if module not in known:
                raise unknown("module", module, known)
        wanted = set(self.modules)
        inside = table["module"].map(lambda module: module in wanted or module.rsplit(".", 1)[-1] in wanted)
        return table.loc[inside & table["has_gradient"], "name"].tolist()


@dataclass(frozen=True)
class Cells(Region):
    """A list of tensors given by hand."""

    name: ClassVar[str] = "cells"
    cells: tuple[str, ...] = setting((), "tensor names, as in the localization table")

    def select(self, table: pd.DataFrame) -> list[str]:
        """Return the given tensors that exist and have a gradient."""
        known = dict(zip(table["name"], table["has_gradient"], strict=True))
        for cell in self.cells:
            if cell not in known:
                raise unknown("tensor", cell, known)
            if not known[cell]:
                raise UserError(f"The tensor {cell} has no gradient.", "Take it out of the region.")
        return [name for name in table["name"] if name in set(self.cells)]


REGIONS: dict[str, type[Region]] = {rule.name: rule for rule in (Located, All, Random, Complement, Layers, Modules, Cells)}


def parse(text: str, current: Region) -> Region:
    """Turn `located`, `layers:4-9`, `modules:q_proj,v_proj` or `cells:a,b` into a rule.

    Thresholds of the current rule are kept where the new one has them too.
    """
    name, _, argument = text.partition(":")
    if name not in REGIONS:
        raise unknown("region rule", name, REGIONS)
    kind = REGIONS[name]
    if issubclass(kind, Located):
        kept = {"thresholds", "mu", "sigma", "published"} if isinstance(current, Located) else set()
        return kind(**{key: getattr(current, key) for key in kept})
    if kind is Layers:
        first, _, last = argument.partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            raise UserError(f"“{text}” is not a range of layers.", "Write it as layers:4-9.")
        return Layers(int(first), int(last or first))
    names = tuple(part.strip() for part in argument.split(",") if part.strip())
    if kind is Modules:
        return Modules(names)
    return Cells(names) if kind is Cells else kind()


def choose(rule: Region, table: pd.DataFrame) -> list[str]:
    """Apply a rule. Raises UserError when it selects nothing, or everything although it should locate."""
    chosen = rule.select(table)
    live = int(table["has_gradient"].sum())
    if not chosen:
        raise UserError("The thresholds select no tensor.", "Raise mu or lower sigma, or choose another region rule.")
    if len(chosen) == live and isinstance(rule, Located):
        raise UserError("The thresholds select every tensor.", "Lower mu or raise sigma, or choose the region “all”.")
    return chosen
