"""A finished run in one object: what `--json` prints and pages show first. Reads files only; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.data.corpus import SCOPES, SPLITS
from core.runs import asked, never_knew
from core.runs.scores import Scores
from core.runs.store import Run
from core.runs.voices import SPOKEN
from core.util.files import clean
from core.util.safe_read import mapping, number

VOICE_KEYS = {"before": "before", "after": "after", "never": "never_taught", "retrained": "retrained"}
"""voice -> its key in the object"""


def summary(run: Run) -> dict[str, Any]:
    """Return the object that `--json` prints: see the command-line contract."""
    measured, status = Scores.read_once(run), run.status()
    result: dict[str, Any] = {"run": run.id, "state": status.get("state")}
    for voice in SPOKEN:
        key = VOICE_KEYS[voice]
        success = {f"{scope}_success": _successes(measured, voice, scope) for scope in SCOPES}
        result[key] = success if any(success.values()) else {"reason": measured.reason("accuracy", voice)}
    result["asked"] = said(measured)
    result["never_knew"] = measured.values("never_knew", "after") or {"reason": measured.reason("never_knew", "after")}
    result["never_knew_example"] = _never_knew(measured)
    degenerate = measured.values("degenerate", "after")
    result["degenerate"] = degenerate.get("unlearn/val", degenerate.get("unlearn/train"))
    region = mapping(run.json("region.json"))
    numbers = {name: value for name, value in region.items() if number(value) is not None}
    result["located"] = {
        "count": numbers.get("count"),
        "total": numbers.get("total"),
        "share_of_parameters": numbers.get("share_of_adapter"),
    }
    stages = mapping(run.json("manifest.json"), "stages")
    seconds = {name: number(mapping(stages, name).get("seconds")) for name in stages}
    result["seconds"] = {name: value for name, value in seconds.items() if value is not None}
    result["memory"] = {name: peaks for name in stages if (peaks := memory(mapping(stages, name)))}
    return clean(result)


def memory(stage: Mapping[str, Any]) -> dict[str, float]:
    """Return the most memory that a stage held in bytes, by device: cpu (of the machine), and GPUs as cuda:0, …."""
    peaks = {"cpu": stage.get("peak_memory_mb"), **mapping(stage, "peak_gpu_mb")}
    return {device: value * 2**20 for device, peak in peaks.items() if (value := number(peak)) is not None}


def _successes(measured: Scores, voice: str, scope: str) -> dict[str, float]:
    """Return split -> success, where it was measured."""
    values = {split: measured.success(voice, scope, split).value for split in SPLITS}
    return {split: value for split, value in values.items() if value is not None}


def said(measured: Scores) -> dict[str, dict[str, dict[str, dict[str, float | int]]]]:
    """Return what generated answers say: voice -> scope -> kind -> outcome -> percent, and n, of how many questions."""
    voices: dict[str, dict[str, dict[str, dict[str, float | int]]]] = {}
    for row in asked.table(measured):
        if key := VOICE_KEYS.get(row.voice):
            scopes = voices.setdefault(key, {scope: {} for scope in SCOPES})
            scopes.setdefault(row.scope, {}).setdefault(row.kind, {"n": row.n})[row.outcome] = row.share
    return voices


def _never_knew(measured: Scores) -> dict[str, Any]:
    """Return which tokens -> kind of question -> score and gap with their intervals, and n, of how many questions."""
    tokens = {
        which: {
            kind: {
                "score": knew.score.value,
                "low": knew.score.low,
                "high": knew.score.high,
                "gap": knew.gap.value,
                "gap_low": knew.gap.low,
                "gap_high": knew.gap.high,
                "n": knew.score.n,
            }
            for kind, knew in never_knew.by_kind(measured, which).items()
        }
        for which in never_knew.TOKENS
    }
    return tokens if any(tokens.values()) else {"reason": measured.reason(never_knew.METRIC, "after")}
