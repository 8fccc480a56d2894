"""A finished run in one object: what `--json` prints and pages show first. Reads files only; no torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core.data import SPLITS
from core.store import Run


def summary(run: Run) -> dict[str, Any]:
    """Return the object that `--json` prints: see the command-line contract."""
    metrics = (run.json("metrics.json") or {}).get("metrics", {})
    region, manifest, status = run.json("region.json") or {}, run.json("manifest.json") or {}, run.status()
    result: dict[str, Any] = {"run": run.id, "state": status.get("state")}
    accuracy = metrics.get("accuracy", {})
    for voice, key in (("before", "before"), ("after", "after"), ("never", "never_taught")):
        values = accuracy.get("values", {}).get(voice)
        if values:
            result[key] = {
                "unlearn_success": {s: 100 - values[f"unlearn/{s}"] for s in SPLITS if f"unlearn/{s}" in values},
                "retention_success": {s: values[f"retention/{s}"] for s in SPLITS if f"retention/{s}" in values},
            }
        else:
            result[key] = {"reason": accuracy.get("reasons", {}).get(voice, "not measured")}
    knew = metrics.get("never_knew", {})
    result["never_knew"] = knew.get("values", {}).get("after") or {
        "reason": knew.get("reasons", {}).get("after", "not measured")
    }
    degenerate = metrics.get("degenerate", {}).get("values", {}).get("after", {})
    result["degenerate"] = degenerate.get("unlearn/val", degenerate.get("unlearn/train"))
    result["located"] = {
        "count": region.get("count"), "total": region.get("total"), "share_of_parameters": region.get("share_of_adapter"),
    }  # fmt: skip
    result["seconds"] = {name: stage["seconds"] for name, stage in manifest.get("stages", {}).items()}
    return clean(result)


def clean(value: Any) -> Any:
    """Replace what JSON cannot say (NaN, numpy numbers) by what it can."""
    if isinstance(value, dict):
        return {str(key): clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
