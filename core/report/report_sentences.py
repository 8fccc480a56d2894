"""What a report's numbers say, in plain sentences; each is computed from the report's data, and names its reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.probes.scorecard import judged

NEAR = 2.0
"""points: closer than this, two successes are called the same"""
SPLITS = {"train": "questions that unlearning saw", "dev": "held-out questions", "val": "new questions"}
UNTRIED = "rephrased questions, a given beginning of the answer, role-play, quantization and relearning"


@dataclass(frozen=True)
class Remark:
    """One sentence about what could still leak."""

    state: str
    """leaks, open (nobody looked, or it cannot be known) or quiet (looked at, nothing found)"""
    text: str


def counted(data: Mapping[str, Any], scope: str, split: str, verdict: str, voice: str = "after") -> tuple[int, int]:
    """Return (examples with a verdict, all examples) of a scope and split."""
    rows = [
        r for r in (data["answers"] or {}).get("counts", ()) if (r["scope"], r["split"], r["voice"]) == (scope, split, voice)
    ]
    return sum(r["count"] for r in rows if r["verdict"] == verdict), sum(r["count"] for r in rows)


def splits(data: Mapping[str, Any], scope: str) -> list[str]:
    """Return the splits of a scope that were asked, new questions first."""
    there = {row["split"] for row in data["scopes"] if row["scope"] == scope}
    return [split for split in ("val", "dev", "train") if split in there]


def short(data: Mapping[str, Any]) -> list[str]:
    """Return what a reader who stops after five lines should know."""
    sentences = []
    for split in splits(data, "unlearn")[:1]:
        leaked, total = counted(data, "unlearn", split, "leaked")
        never, taught_none = counted(data, "unlearn", split, "leaked", "never")
        beside = f"; never taught: {never}" if taught_none else ""
        noise, _ = counted(data, "unlearn", split, "degenerate")
        knew, _ = counted(data, "unlearn", split, "leaked", "before")
        if total:
            sentences.append(
                f"Of {total} {SPLITS[split]} about what had to be forgotten, {_amount(leaked, 'is', 'are')} still "
                f"answered with it (before: {knew}{beside}); "
                f"{_amount(noise, 'answer is', 'answers are', 'no answer is')} noise."
            )
        sentences += _beside(data, f"unlearn/{split}", "Unlearn Success")
    for split in splits(data, "retention")[:1]:
        kept, total = counted(data, "retention", split, "kept")
        knew, _ = counted(data, "retention", split, "kept", "before")
        if total:
            sentences.append(
                f"Of {total} {SPLITS[split]} about what had to be kept, {_amount(kept, 'is', 'are')} answered right "
                f"(before: {knew})."
            )
        sentences += _beside(data, f"retention/{split}", "Retention Success")
    return [*sentences, *changed(data)]


def changed(data: Mapping[str, Any]) -> list[str]:
    """Say how much was changed, and whether anything was outside of the region."""
    change, region = data["change"], data["region"]
    if not change or not region:
        return []
    inside, outside = change["inside"], change["outside"]
    if not region.get("rule"):  # an audit: its region is what was found to differ
        return [
            (
                f"{inside['changed']} of {inside['tensors'] + outside['tensors']} adapter tensors differ between "
                "before and after."
            )
        ]
    share = region.get("share_of_model")
    part = f", {share:.2f} % of the model's parameters" if isinstance(share, int | float) else ""
    where = (
        "outside of it nothing changed"
        if not outside["changed"]
        else f"outside of it {outside['changed']} changed too, which must not be"
    )
    return [
        (
            f"{inside['changed']} of {inside['tensors'] + outside['tensors']} adapter tensors were changed (the "
            f"region has {inside['tensors']}{part}); {where}."
        )
    ]


def leaks(data: Mapping[str, Any]) -> list[Remark]:
    """Return what could still leak, what was looked at without finding anything, and what nobody looked at."""
    remarks = [*_told(data), *_below(data), *_member(data), *map(_probed, data["probes"])]
    if not data["probes"]:
        remarks.append(Remark("open", f"This run was not probed: {UNTRIED} were not tried."))
    if data["change"] and data["change"]["outside"]["changed"]:
        remarks.append(Remark("leaks", "Tensors outside of the region changed: the run is not what it says."))
    asked = sum(row["questions"] for row in data["scopes"] if row["scope"] == "unlearn")
    remarks.append(
        Remark("open", f"{asked} questions were asked about what had to be forgotten. What nobody asked, nobody knows.")
    )
    remarks.append(
        Remark(
            "open",
            (
                "The run's folder holds the model before unlearning, the questions and the true answers: whoever has "
                "it has the facts."
            ),
        )
    )
    return sorted(remarks, key=lambda remark: ("leaks", "open", "quiet").index(remark.state))


def _told(data: Mapping[str, Any]) -> list[Remark]:
    remarks = []
    for split in splits(data, "unlearn"):
        leaked, total = counted(data, "unlearn", split, "leaked")
        never, asked = counted(data, "unlearn", split, "leaked", "never")
        if total:
            verb = "is" if leaked == 1 else "are"
            # A model that never knew it hits upon some answers as well: no more than that is no leak.
            state = "leaks" if leaked > never else "quiet"
            beside = f"; of a model that was never taught, {never} of {asked}" if asked else ""
            remarks.append(
                Remark(
                    state,
                    f"{leaked} of {total} {SPLITS[split]} {verb} still answered with what had to be forgotten{beside}.",
                )
            )
    return remarks


def _below(data: Mapping[str, Any]) -> list[Remark]:
    """Compare token accuracy with ignorance: what is left there can be had with a little help."""
    remarks = []
    for row in data["success"]:
        after, never = (row["cells"][voice] for voice in ("after", "never"))
        if row["key"].startswith("unlearn") and after and never and after["value"] < never["value"] - NEAR:
            split = row["key"].partition("/")[2]
            sure = after["high"] is not None and never["low"] is not None and after["high"] < never["low"]
            remarks.append(
                Remark(
                    "leaks" if sure else "open",
                    (
                        "With the true answer's beginning given, the next token is right more often than for a model "
                        f"never taught: {100 - after['value']:.1f} % against {100 - never['value']:.1f} % on "
                        f"{SPLITS[split]}."
                    ),
                )
            )
    return remarks


def _member(data: Mapping[str, Any]) -> list[Remark]:
    """Judge what the run recorded of membership, unless the leak probe tells it."""
    probed = any(p["name"] == "membership" and p["cells"]["after"] and not p["stale"] for p in data["probes"])
    return [] if probed or not data["membership"] else [_probed(data["membership"])]


def _probed(probe: Mapping[str, Any]) -> Remark:
    """Turn a probe's finding into a remark; one that only looks inside, or tests a use, leaks nothing by itself."""
    name = str(probe["title"])
    if probe["unavailable"]:
        return Remark("open", f"{name}: {probe['unavailable']}")
    if probe["stale"]:
        return Remark("open", f"{name}: it was made on other weights, so it says nothing of these.")
    after, never = (probe["cells"][voice] for voice in ("after", "never"))
    if after is None or probe["kind"] != "leak":
        return Remark("open", f"{name}: {probe['sentence']}")
    verdict, _ = judged(after, never, probe.get("floor", 0.0), both_ways=bool(probe.get("both_ways")))
    return Remark({"leaks": "leaks", "perhaps": "open"}.get(verdict, "quiet"), f"{name}: {probe['sentence']}")


def _beside(data: Mapping[str, Any], key: str, name: str) -> list[str]:
    cells: Mapping[str, Any] = next((row["cells"] for row in data["success"] if row["key"] == key), {})
    if not cells.get("after"):
        return []
    others = [
        f"{label} {cells[voice]['value']:.1f}"
        for voice, label in (("before", "before"), ("never", "a model never taught"))
        if cells.get(voice)
    ]
    return [f"{name} there is {cells['after']['value']:.1f}" + (f" ({', '.join(others)})." if others else ".")]


def _amount(count: int, singular: str, plural: str, none: str = "none is") -> str:
    return none if not count else f"{count} {singular if count == 1 else plural}"


def listed(names: Sequence[str], most: int) -> str:
    """Write names as a list, the first few of many."""
    shown = list(names[:most])
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
