"""Random regions like a given one: as many of each kind, elsewhere."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest

from core.regions.matched import matched
from core.util.errors import UserError

SHAPES = {("q", "A"): (8, 64), ("q", "B"): (64, 8), ("down", "A"): (8, 256), ("down", "B"): (64, 8)}


def table(layers: int = 12) -> pd.DataFrame:
    rows = [
        (f"layers.{layer}.{module}.lora_{factor}", layer, module, factor, *shape, True)
        for layer in range(layers)
        for (module, factor), shape in SHAPES.items()
    ]
    return pd.DataFrame(rows, columns=["name", "layer", "module", "factor", "rows", "columns", "has_gradient"])


def kinds(grid: pd.DataFrame, names: tuple[str, ...], band: int | None) -> Counter[tuple[object, ...]]:
    chosen = grid[grid["name"].isin(names)]
    bands = chosen["layer"] * 3 // 12 if band else chosen["layer"] * 0
    return Counter(zip(chosen["module"], chosen["factor"], bands, strict=True))


def test_a_draw_has_as_many_of_each_kind_and_band_and_as_many_parameters() -> None:
    grid = table()
    inside = tuple(grid["name"].sample(16, random_state=0))
    size = (grid["rows"] * grid["columns"]).groupby(grid["name"]).sum()
    draws = [matched(grid, inside, draw) for draw in range(19)]
    for names in draws:
        assert kinds(grid, names, 3) == kinds(grid, inside, 3)
        assert size[list(names)].sum() == size[list(inside)].sum()
    assert len(set(draws)) == 19
    assert matched(grid, inside, 4) == draws[4]
    assert list(draws[0]) == [name for name in grid["name"] if name in draws[0]]


def test_every_tensor_of_a_kind_is_drawn_as_often() -> None:
    grid = table()
    inside = ("layers.0.q.lora_A",)
    counts = Counter(name for draw in range(600) for name in matched(grid, inside, draw))
    assert set(counts) == {f"layers.{layer}.q.lora_A" for layer in range(4)}
    assert min(counts.values()) > 110


def test_a_region_that_fills_its_band_is_matched_without_it() -> None:
    grid = table()
    inside = tuple(grid.loc[grid["layer"] >= 8, "name"])
    names = matched(grid, inside, 0)
    assert kinds(grid, names, None) == kinds(grid, inside, None)
    assert set(names) != set(inside)


def test_tensors_without_gradient_are_not_drawn() -> None:
    grid = table()
    grid.loc[grid["layer"].isin([1, 2]), "has_gradient"] = False
    assert {name for draw in range(50) for name in matched(grid, ("layers.0.q.lora_A",), draw)} == {
        "layers.0.q.lora_A",
        "layers.3.q.lora_A",
    }


def test_a_region_of_nearly_everything_has_no_other_like_it() -> None:
    grid = table()
    with pytest.raises(UserError, match="nearly every tensor"):
        matched(grid, tuple(grid["name"][2:]), 0)
