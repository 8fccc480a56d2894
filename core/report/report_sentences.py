"""What a report's numbers say, in plain sentences; each is computed from the report's data, and names its reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.metrics import intervals
from core.probes.scorecard import TOO_FEW, judged
from core.report import in_short
from core.runs import asked
from core.runs.voices import REFERENCES

NEAR = 2.0
"""points: closer than this, two successes are called the same"""
SPLITS = {
    "train": "questions in taught wording",
    "dev": "questions held out to choose settings",
    "val": "questions held out from unlearning",
}
UNTRIED = "rephrased questions, a given beginning of the answer, role-play, quantization and relearning"


@dataclass(frozen=True)
class Remark:
    """One sentence about what could still leak."""

    state: str
    """leaks, open (nobody looked, or it cannot be known), few (too few asked to tell) or quiet (nothing found)"""
    text: str
    plain: str = ""
    """the same for those who do not work on it, where that is said in other words"""


MARKS = {"leaks": "✖ leaks", "open": "? open", "few": f"○ {TOO_FEW}", "quiet": "● quiet"}
"""state -> what stands before a remark, worst first"""


def counted(data: Mapping[str, Any], scope: str, kind: str, outcome: str, voice: str = "after") -> tuple[int, int]:
    """Return (answers that came out so, questions asked) of a scope and kind of question."""
    wanted = (voice, kind, scope, outcome)
    rows = [r for r in data["asked"]["rows"] if (r["voice"], r["kind"], r["scope"], r["outcome"]) == wanted]
    return (rows[0]["count"], rows[0]["n"]) if rows else (0, 0)


def kinds(data: Mapping[str, Any], scope: str) -> list[str]:
    """Return the kinds of question that a scope was asked, the one that says the most first."""
    there = {row["kind"] for row in data["asked"]["rows"] if row["scope"] == scope}
    return [kind for kind in asked.KIND_NAMES if kind in there]


def short(data: Mapping[str, Any]) -> list[str]:
    """Return what a reader who stops after five lines should know: what it says, then next-word accuracy."""
    success = [_beside(data, f"{scope}/{split}", name) for scope, split, name in _held_out(data)]
    return [*data["asked"]["sentences"], *_others(data), *filter(None, success), *changed(data)]


def _others(data: Mapping[str, Any]) -> list[str]:
    """Say what the other voices said of the questions that the first sentence counts."""
    kind, parts = data["asked"]["kind"], []
    for voice in dict.fromkeys(row["voice"] for row in data["asked"]["rows"]):
        forget, keep = counted(data, "unlearn", kind, "leaked", voice), counted(data, "retention", kind, "kept", voice)
        if voice != "after" and forget[1] and keep[1]:
            parts.append(f"{asked.voice_name(voice)}: {forget[0]} of {forget[1]} to forget, {keep[0]} of {keep[1]} to keep")
    text = "; ".join(parts)
    return [f"{text[:1].upper()}{text[1:]}."] if parts else []


def _held_out(data: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (scope, split, name) of the successes that are told: of questions held out, where there are any."""
    keys = {row["key"] for row in data["success"]}
    names = {"unlearn": "Unlearn Success", "retention": "Retention Success"}
    first = {scope: next((s for s in ("val", "dev", "train") if f"{scope}/{s}" in keys), "") for scope in names}
    return [(scope, split, names[scope]) for scope, split in first.items() if split]


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
    count = sum(counted(data, "unlearn", kind, "leaked")[1] for kind in kinds(data, "unlearn"))
    remarks.append(
        Remark("open", f"{count} questions were asked about what had to be forgotten. What nobody asked, nobody knows.")
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
    return sorted(remarks, key=lambda remark: list(MARKS).index(remark.state))


def _told(data: Mapping[str, Any]) -> list[Remark]:
    remarks = []
    for kind in kinds(data, "unlearn"):
        leaked, total = counted(data, "unlearn", kind, "leaked")
        others = {voice: counted(data, "unlearn", kind, "leaked", voice) for voice in REFERENCES}
        if total:
            verb = "is" if leaked == 1 else "are"
            state = in_short.leak(leaked, _high(data, kind), others)
            beside = "".join(f"; {asked.voice_name(voice)}: {said} of {of}" for voice, (said, of) in others.items() if of)
            name = asked.KIND_NAMES[kind]
            more = f" {intervals.too_few(total, _high(data, kind))}" if state == "few" else ""
            text = f"{leaked} of {total} questions ({name}) {verb} still answered with what must go{beside}.{more}"
            said, of = max((count for count in others.values() if count[1]), default=(0, 0))
            plain = f"{leaked} of {total} questions ({name}) {verb} still answered with what must go"
            plain += f"; a model that never knew it: {said} of {of}." if of else "."
            remarks.append(Remark(state, text, plain + more))
    return remarks


def _high(data: Mapping[str, Any], kind: str) -> float | None:
    """Return the upper end, percent, of what is still said after unlearning of what must go."""
    wanted = ("after", kind, "unlearn", "leaked")
    ends = [r["high"] for r in data["asked"]["rows"] if (r["voice"], r["kind"], r["scope"], r["outcome"]) == wanted]
    return ends[0] if ends else None


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
                    "With an answer's beginning given, it goes on better than a model that was never taught.",
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
    after = probe["cells"]["after"]
    if after is None or probe["kind"] != "leak":
        return Remark("open", f"{name}: {probe['sentence']}")
    verdict, _ = judged(probe["cells"], probe.get("floor", 0.0), both_ways=bool(probe.get("both_ways")))
    more = f" {intervals.too_few(probe['n'], after['high'])}" if verdict == TOO_FEW else ""
    state = {"leaks": "leaks", "perhaps": "open", TOO_FEW: "few"}.get(verdict, "quiet")
    beside = "".join(
        f"; {asked.voice_name(voice)} {cell['value']:.0f} %"
        for voice in ("before", "never")
        if (cell := probe["cells"].get(voice))
    )
    plain = f"{name.partition(' (')[0]}: {probe['what']} {after['value']:.0f} %{beside}.{more}"
    return Remark(state, f"{name}: {probe['sentence']}{more}", plain)


def _beside(data: Mapping[str, Any], key: str, name: str) -> str:
    cells: Mapping[str, Any] = next((row["cells"] for row in data["success"] if row["key"] == key), {})
    if not cells.get("after"):
        return ""
    others = [f"{asked.voice_name(voice)} {cell['value']:.1f}" for voice, cell in cells.items() if cell and voice != "after"]
    beside = f" ({', '.join(others)})" if others else ""
    return f"Next-word accuracy, correct beginning given: {name} is {cells['after']['value']:.1f}{beside}."


def listed(names: Sequence[str], most: int) -> str:
    """Write names as a list, the first few of many."""
    shown = list(names[:most])
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
