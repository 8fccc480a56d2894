"""The corpus is as large as it is said to be, and no input stands in it twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.hostile import archives, cells, data_files, model_files, settings, texts

FAMILIES: dict[str, dict[str, Any]] = {
    "archives": archives.ZIPS,
    "tensors in archives": archives.SAFETENSORS,
    "data files": data_files.ALL,
    "configuration files": settings.FILES,
    "settings": settings.SET,
    "models": settings.MODELS,
    "names of data": settings.DATA,
    "regions": settings.REGIONS,
    "methods": settings.METHODS,
    "voices": settings.VOICES,
    "runs": settings.RUNS,
    "requests": settings.REQUESTS,
    "heads of GGUF": model_files.HEADS,
    "values of GGUF": model_files.VALUES,
    "folders of models": model_files.FOLDERS,
    "cells": cells.ALL,
    "texts": texts.ALL,
}


def test_at_least_two_hundred_inputs() -> None:
    counts = {name: len(family) for name, family in FAMILIES.items()}
    assert sum(counts.values()) >= 500, counts
    assert min(counts.values()) >= 8, counts


def test_none_stands_twice() -> None:
    for name, family in FAMILIES.items():
        same = [text for text, times in Counter(map(repr, family.values())).items() if times > 1]
        assert not same, (name, same)


def test_refusals_and_harmless_ones_are_both_there() -> None:
    """A corpus that is refused as a whole would also pass where everything is refused."""
    for name in ("archives", "data files", "configuration files", "settings", "regions"):
        words = [values[-1] for values in FAMILIES[name].values()]
        assert "" in words, name
        assert sum(map(bool, words)) > len(words) / 2, name
