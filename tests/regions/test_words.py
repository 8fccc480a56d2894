from __future__ import annotations

import pytest

from core.regions import REGIONS, Cells, Late, Layers, Modules, Region, Scored, Top
from core.regions.words import words


@pytest.mark.parametrize("name", REGIONS)
def test_every_rule_has_words_without_its_name(name: str) -> None:
    rule = REGIONS[name](**{"modules": {"modules": ("q_proj", "v_proj")}, "cells": {"cells": ("a", "b")}}.get(name, {}))
    said = words(rule)
    assert said
    assert len(said.split()) <= 18
    assert name not in said.split() or name in ("cells", "layers", "modules")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Late("33%"), "the last third of the layers"),
        (Late("10"), "the last 10 layers"),
        (Late("20 %"), "the last 20 % of the layers"),
        (Late("1"), "the last layer"),
        (Layers(4, 9), "layers 4 to 9"),
        (Layers(4), "every layer from 4 on"),
        (Layers(4, 4), "layer 4"),
        (Modules(("q_proj", "k_proj", "v_proj")), "q_proj, k_proj and v_proj of every layer"),
        (Modules(("q_proj",)), "q_proj of every layer"),
        (Cells(("a",)), "the one cell that was picked"),
        (Top("80"), "the 80 cells whose pull to forget is strongest and least shared"),
        (Scored("removal", "20%"), "the 20 % of modules whose loss costs what is to be forgotten most"),
    ],
)
def test_a_rule_in_a_readers_words(rule: Region, said: str) -> None:
    assert words(rule) == said


def test_a_rule_without_words_is_an_error() -> None:
    with pytest.raises(TypeError, match="has no words"):
        words(Region())
