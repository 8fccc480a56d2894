"""A planting of facts that nobody made: few modules, and scores of which one finds what was planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from core.localization import SCORES, plantings

NAMES = (*SCORES, "located", "ablation")
MODULES = [f"model.layers.{layer}.{module}" for layer in range(10) for module in ("self_attn.q_proj", "mlp.up_proj")]
SETS = [0] * 3 + [1] * 3 + [2 + number % 3 for number in range(14)]


def one_planting(seed: int = 0, better: float = 0.0) -> dict[str, Any]:
    """A planting of 3 modules in 20; by removal they stand above the others by so much, by size of the change below."""
    draw, sets = np.random.default_rng(seed), np.array(SETS)
    scores = pd.DataFrame({name: draw.normal(size=20) for name in NAMES}, index=MODULES)
    scores["removal"] += better * (sets == 0)
    scores["update"] = np.arange(20.0)
    roles = {name: plantings.ROLES[min(number, 2)] for name, number in zip(MODULES, SETS, strict=True)}
    check = {role: dict.fromkeys(("taught", *(f"without_{r}" for r in plantings.ROLES)), -1.0) for role in plantings.ROLES}
    return {
        "format": 1,
        "plant": seed,
        "seed": 0,
        "modules": MODULES,
        "sets": SETS,
        "check": check,
        "holds": True,
        "sizes": [0.05] * 20,
        "scores": {name: scores[name].round(4).tolist() for name in scores},
        "found": plantings.found(roles, scores).to_dict("index"),
        "seconds": {"teach": 2.0, "score": 1.0, "ablate": 1.0},
    }


def record_of(ones: list[dict[str, Any]], model: str = "bundled", **other: Any) -> dict[str, Any]:
    """What planted.json says of some plantings."""
    about = {"format": 1, "model": model, "data": "demo", "settings": {"cells": 3}, "plantings": ones}
    return about | {"scores": plantings.together(ones)} | other
