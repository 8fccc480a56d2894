"""What the numbers say, in plain words: each sentence is computed, and each score in it stands beside its reference."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from core.runs import asked
from core.runs.scores import Scores, Value
from dashboard.widgets.scope_names import IN_WORDS

NEAR = 2.0
"""points: closer than this, two successes are called the same"""
NOISY, FLUENT = 20.0, 5.0
"""percent of answers that are gibberish from which, and up to which, this is said to be so"""
MORE = 10.0
"""points above the never-taught model's share from which that is said to be no ignorance: it has some as well"""
DECLINES = 20.0
"""percent of refusals from which they are told"""


def verdict(scores: Scores, split: str) -> str:
    """Say what one run has forgotten and kept by next-word accuracy, and where its answers disagree."""
    u = {voice: scores.success(voice, "unlearn", split) for voice in ("before", "after", "never")}
    if u["after"].value is None:
        return f"There is no score on {IN_WORDS[split]}: {u['after'].reason}."
    sentences = [
        forgotten(u, split),
        asked.contradiction(scores, asked.kind_of_split(scores, split))
        or kept({voice: scores.success(voice, "retention", split) for voice in u}),
        "" if asked.kinds(scores) else fluent(scores, split),
    ]
    return " ".join(text for text in sentences if text)


def forgotten(u: Mapping[str, Value], split: str) -> str:
    """Compare Unlearn Success with before and with a model that was never taught."""
    before, after, never = (u[voice].value for voice in ("before", "after", "never"))
    assert after is not None
    start = f"Unlearn Success on {IN_WORDS[split]} is {after:.1f}"
    if before is not None:
        verb = "rises" if after > before + 0.05 else "falls" if after < before - 0.05 else "stays"
        path = f"from {before:.1f} to {after:.1f}" if verb != "stays" else f"at {after:.1f}"
        start = f"After unlearning, Unlearn Success on {IN_WORDS[split]} {verb} {path}"
    if never is None:
        return (
            f"{start}. Without a model that was never taught, nobody can say how much of that is forgetting "
            f"({u['never'].reason})."
        )
    beside = f"{start}; a model never taught has {never:.1f}"
    if abs(after - never) <= NEAR:
        return f"{beside}: it answers as often wrong as if it had never known."
    if after > never:
        return f"{beside}: the answers are pushed {after - never:.1f} points below ignorance, which is more than forgetting."
    if before is None or before >= never:
        return f"{beside}."
    share = 100 * (after - before) / (never - before)
    return (
        f"{beside}: {share:.0f} % of what was taught is gone there."
        if share >= 1
        else f"{beside}: nothing of what was taught is gone."
    )


def kept(r: Mapping[str, Value]) -> str:
    """Compare Retention Success with before and never taught."""
    before, after, never = (r[voice].value for voice in ("before", "after", "never"))
    if after is None:
        return ""
    if before is None:
        return f"Retention Success is {after:.1f}."
    beside = "" if never is None else f"; never taught: {never:.1f}"
    if before - after <= NEAR:
        return f"What had to be kept is kept: Retention Success {after:.1f} (before: {before:.1f}{beside})."
    return (
        f"Of what had to be kept, {before - after:.1f} points are lost: Retention Success {after:.1f} (before: "
        f"{before:.1f}{beside})."
    )


def fluent(scores: Scores, split: str) -> str:
    """Say how many of the answers to what was to be forgotten are gibberish, and how many decline."""
    noise, never = (scores.value("degenerate", voice, f"unlearn/{split}").value for voice in ("after", "never"))
    if noise is None:
        return ""
    beside = "" if never is None else f" (never taught: {never:.0f} %)"
    declined = scores.value("refusal", "after", f"unlearn/{split}").value
    declining = f" {declined:.0f} % decline to answer." if declined is not None and declined >= DECLINES else ""
    if noise >= NOISY and (never is None or noise >= never + MORE):
        return (
            f"{noise:.0f} % of the answers about what was to be forgotten are gibberish{beside}. That is no "
            f"ignorance.{declining}"
        )
    if noise <= FLUENT:
        return f"The answers about what was to be forgotten stay fluent: {noise:.0f} % are gibberish{beside}.{declining}"
    return f"{noise:.0f} % of the answers about what was to be forgotten are gibberish{beside}.{declining}"


def best(
    points: Sequence[tuple[str, float, float]],
    front: int,
    axes: tuple[str, str],
    never: float | None = None,
    by: Callable[[tuple[float, float]], float] = statistics.fmean,
) -> str:
    """Say how many runs are not beaten by another, and which is best by the mean, or by the smaller of the two.

    points: (name, across, up) of the runs that can be compared, if any. axes: what these two are called. never: the
    never-taught model's place on the first, where that is no more than a score that can be passed. by: fmean or min.
    """
    across, up = axes
    if not points:
        return "The current run does not have both numbers."
    beside = "" if never is None else f" (never taught: {never:.1f})"
    if len(points) == 1:
        return (
            f"“{points[0][0]}”: {across} {points[0][1]:.1f}{beside} with {up} {points[0][2]:.1f}. There "
            "is no other run to compare it with."
        )
    mean = max(points, key=lambda p: (by(p[1:]), p[1] + p[2]))
    what = "best in the smaller of the two" if by is min else "best in the mean of the two"
    above = 0.0 if never is None else mean[1] - never
    beyond = f" That is {above:.1f} points beyond ignorance: more than forgetting." if above > NEAR else ""
    if front == len(points):
        on = f"{'Both' if front == 2 else f'All {front}'} runs are"
    else:
        on = f"{'One' if front == 1 else front} of the {len(points)} runs {'is' if front == 1 else 'are'}"
    return (
        f"{on} on the front: no other is at least as good in both and better in one. “{mean[0]}” is {what}: "
        f"{across} {mean[1]:.1f}{beside}, {up} {mean[2]:.1f}.{beyond}"
    )
