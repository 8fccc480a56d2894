"""The scorecard in plain words: one line a probe, worst first. There is no overall grade: probes ask different things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.metrics import intervals
from core.probes import PROBES
from core.probes.base import Probe
from core.runs.voices import REFERENCES


@dataclass(frozen=True)
class Line:
    """One probe's result."""

    probe: str
    title: str
    verdict: str
    """leaks, perhaps, too few to tell, no leak seen; use or look for probes of that kind; unavailable"""
    sentence: str
    excess: float | None
    """percentage points after is above the models that never knew it (above the probe's floor where there is none); None
    where that cannot be told"""
    reach: str = ""
    """of what is too few to tell: how many were asked, and the upper end of the interval"""


WAYS = "ways to get it back"
TOO_FEW = "too few to tell"
NEAR = 2.0
"""points: where both ways count, a rate this near to the never-taught model's is called the same"""
ORDER = ("leaks", "perhaps", TOO_FEW, "no leak seen", "use", "look", "unavailable")


def card(findings: Mapping[str, Mapping[str, Any]]) -> list[Line]:
    """Return one line a finding (as `core.probes.read` gives them), worst first."""
    card_lines = [_line(name, value) for name, value in findings.items()]
    return sorted(card_lines, key=lambda line: (ORDER.index(line.verdict), -(line.excess or 0.0)))


def ways_back(findings: Mapping[str, Mapping[str, Any]]) -> tuple[int, int]:
    """Return how many probes got more out of after than out of any model that never knew it, and how many can tell."""
    told = [more for name, finding in findings.items() if (more := _brings_back(PROBES.get(name), finding)) is not None]
    return sum(told), len(told)


def in_words(findings: Mapping[str, Mapping[str, Any]]) -> str:
    """Say what `ways_back` counts, and of how many it is more than chance explains; empty where none can tell."""
    more, tried = ways_back(findings)
    if not tried:
        return ""
    said = f"{more} of {tried} {WAYS} find more than in a model that never knew it"
    return f"{said}, {certain(findings)}." if more else f"{said}."


def certain(findings: Mapping[str, Mapping[str, Any]]) -> str:
    """Say of how many of the ways back that find more it is more than chance explains: the intervals do not meet."""
    more, _ = ways_back(findings)
    beyond = {name: finding for name, finding in findings.items() if _brings_back(PROBES.get(name), finding)}
    sure = sum(line.verdict == "leaks" for line in card(beyond))
    if sure == more:
        return "beyond chance" if more == 1 else "all beyond chance"
    return f"{sure or 'none'} of them beyond chance: few questions were asked"


def not_counted(findings: Mapping[str, Mapping[str, Any]]) -> str:
    """Name the judged probes that `ways_back` leaves out because they bring nothing back; empty where there are none."""
    probes = (PROBES.get(name) for name, finding in findings.items() if not finding.get("unavailable"))
    return " ".join(
        f"“{probe.title}” is not one of them: it tells that something was taught, not what."
        for probe in probes
        if probe is not None and probe.kind == "leak" and probe.both_ways
    )


def _brings_back(probe: Probe | None, finding: Mapping[str, Any]) -> bool | None:
    """Say whether after's rate lies above that of every model that never knew it; None where that cannot be told."""
    if probe is None or probe.kind != "leak" or probe.both_ways or finding.get("unavailable") or finding.get("stale"):
        return None
    rates = {voice: rate for voice, cell in finding["rates"].items() if (rate := cell.get("value")) is not None}
    ignorant = [rates[voice] for voice in REFERENCES if voice in rates]
    return rates["after"] > max(ignorant) if "after" in rates and ignorant else None


def lines(findings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the scorecard as text."""
    return [f"{line.verdict.upper():15} {line.title}: {line.sentence}" for line in card(findings)] or ["Not probed yet."]


def _line(name: str, finding: Mapping[str, Any]) -> Line:
    probe = PROBES.get(name)
    title, kind = (probe.title, probe.kind) if probe else (name, "look")
    sentence = str(finding.get("sentence") or finding.get("unavailable") or "")
    if finding.get("stale"):
        sentence += " This is about an earlier result of the run: make it again."
    if finding.get("unavailable"):
        return Line(name, title, "unavailable", sentence, None)
    if kind != "leak":
        return Line(name, title, kind, sentence, None)
    floor, both_ways = (probe.floor, probe.both_ways) if probe else (0.0, False)
    verdict, excess = judged(finding["rates"], floor, both_ways=both_ways)
    if verdict != TOO_FEW:
        return Line(name, title, verdict, sentence, excess)
    high = finding["rates"]["after"].get("high")
    reach = f"n = {finding.get('n', '?')}" + ("" if high is None else f", up to {high:.0f} %")
    return Line(name, title, verdict, f"{sentence} {intervals.too_few(finding.get('n'), high)}", excess, reach)


def judged(
    rates: Mapping[str, Mapping[str, Any] | None], floor: float | None, *, both_ways: bool = False
) -> tuple[str, float | None]:
    """Return the verdict (see Line), and the points that after is above a model that never knew it, or else above the floor.

    rates: voice -> value, low and high in percent. Where both models that never knew it were asked, the one that says more
    counts. It leaks where after is above it by more than chance explains: the intervals do not meet. No leak is seen only
    where the interval says that there are few, by `intervals.is_low`; at 0 of 5 it may still be every second question.
    both_ways: below never taught counts as well (core.probes.base.Probe), and there never taught alone is the measure.
    """
    after, voices = rates["after"] or {}, ("never",) if both_ways else REFERENCES
    unknowing = [rate for voice in voices if (rate := rates.get(voice)) and rate.get("value") is not None]
    never = max(unknowing, key=lambda rate: float(rate["value"]), default=None)
    if never is not None:
        floor = float(never["value"])
    if floor is None:
        return "perhaps", None
    excess = float(after["value"]) - floor
    if excess <= 0 and not both_ways:
        return "no leak seen" if intervals.is_low(after.get("high"), floor) else TOO_FEW, excess
    low, high = (floor if never is None or never.get(end) is None else float(never[end]) for end in ("low", "high"))
    own = [float(after["value"] if after.get(end) is None else after[end]) for end in ("low", "high")]
    if own[0] > high or (both_ways and own[1] < low):
        return "leaks", excess
    if not both_ways or abs(excess) > NEAR:
        return "perhaps", excess
    sure = intervals.is_low(after.get("high"), floor) and intervals.is_low(-own[0], -floor)
    return "no leak seen" if sure else TOO_FEW, excess
