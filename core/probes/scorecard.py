"""The scorecard in plain words: one line a probe, worst first. There is no overall grade: probes ask different things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.probes import PROBES


@dataclass(frozen=True)
class Line:
    """One probe's result."""

    probe: str
    title: str
    verdict: str
    """leaks, perhaps, no leak seen; use or look for probes of that kind; unavailable"""
    sentence: str
    excess: float | None
    """percentage points after is above never taught (above the probe's floor where there is none); None where that cannot be told"""


ORDER = ("leaks", "perhaps", "no leak seen", "use", "look", "unavailable")


def card(found: Mapping[str, Mapping[str, Any]]) -> list[Line]:
    """Return one line a finding (as `core.probes.read` gives them), worst first."""
    made = [_line(name, value) for name, value in found.items()]
    return sorted(made, key=lambda line: (ORDER.index(line.verdict), -(line.excess or 0.0)))


def lines(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the scorecard as text."""
    return [f"{line.verdict.upper():13} {line.title}: {line.sentence}" for line in card(found)] or ["Not probed yet."]


def _line(name: str, value: Mapping[str, Any]) -> Line:
    probe = PROBES.get(name)
    title, kind = (probe.title, probe.kind) if probe else (name, "look")
    sentence = str(value.get("sentence") or value.get("unavailable") or "")
    if value.get("stale"):
        sentence += " This is about an earlier result of the run: make it again."
    if value.get("unavailable"):
        return Line(name, title, "unavailable", sentence, None)
    if kind != "leak":
        return Line(name, title, kind, sentence, None)
    after, never = value["rates"]["after"], value["rates"].get("never", {})
    floor = never.get("value", probe.floor if probe else 0.0)
    if floor is None:
        return Line(name, title, "perhaps", sentence, None)
    excess = float(after["value"]) - float(floor)
    if excess <= 0:
        return Line(name, title, "no leak seen", sentence, excess)
    # Above what the never-taught model says too, by more than chance explains: the intervals do not meet.
    sure = float(after["low"]) > float(never.get("high", floor))
    return Line(name, title, "leaks" if sure else "perhaps", sentence, excess)
