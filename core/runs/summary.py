"""A finished run in one object: what `--json` prints and pages show first. Reads files only; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.data.corpus import SPLITS
from core.runs.store import Run
from core.util.files import clean
from core.util.safe_read import mapping, number


def summary(run: Run) -> dict[str, Any]:
    """Return the object that `--json` prints: see the command-line contract."""
    metrics = mapping(run.json("metrics.json"), "metrics")
    region, manifest, status = mapping(run.json("region.json")), run.json("manifest.json"), run.status()
    result: dict[str, Any] = {"run": run.id, "state": status.get("state")}
    for voice, key in (("before", "before"), ("after", "after"), ("never", "never_taught")):
        values = _numbers(mapping(metrics, "accuracy", "values", voice))
        if values:
            result[key] = {
                "unlearn_success": {s: 100 - values[f"unlearn/{s}"] for s in SPLITS if f"unlearn/{s}" in values},
                "retention_success": {s: values[f"retention/{s}"] for s in SPLITS if f"retention/{s}" in values},
            }
        else:
            result[key] = {"reason": mapping(metrics, "accuracy", "reasons").get(voice, "not measured")}
    result["never_knew"] = _numbers(mapping(metrics, "never_knew", "values", "after")) or {
        "reason": mapping(metrics, "never_knew", "reasons").get("after", "not measured")
    }
    degenerate = _numbers(mapping(metrics, "degenerate", "values", "after"))
    result["degenerate"] = degenerate.get("unlearn/val", degenerate.get("unlearn/train"))
    known = {name: value for name, value in region.items() if number(value) is not None}
    result["located"] = {
        "count": known.get("count"),
        "total": known.get("total"),
        "share_of_parameters": known.get("share_of_adapter"),
    }
    stages = mapping(manifest, "stages")
    result["seconds"] = _numbers({name: mapping(stages, name).get("seconds") for name in stages})
    return clean(result)


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return those of some values that are numbers."""
    return {name: found for name, value in values.items() if (found := number(value)) is not None}
