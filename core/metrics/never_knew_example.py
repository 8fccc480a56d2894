"""Never-knew per example: how close each answer token has come to what a model thinks of it that was never taught it.

    per token: 1 − |p_after − p_ref| / (p_before − p_ref), at least 0

p: probability of the true token, the right beginning given. Tokens with p_before − p_ref < LEAST are left out: teaching
added nothing there that could be forgotten. An example's score is the mean over its remaining tokens, the score the mean
over examples, so a long answer counts no more than a short one. Errors in opposite directions do not cancel, as they do in
`never_knew`, which compares means: a model that half of the answers are pushed below ignorance and half left above it
scores 100 there. In which direction they err says the *gap*: mean of p_after − p_ref over the same tokens, in points;
above 0 something is left, below 0 answers are pushed below ignorance.

p_ref: of the model that was taught all but U ("retrained") where one was recorded, else of the one that was never taught.
Where both were, parts that end in `/never` are against the latter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from core.metrics import intervals
from core.metrics.base import Evidence, Metric, Score
from core.metrics.fact_tokens import fact_tokens
from core.runs.never_knew import METRIC, part
from core.runs.voices import VOICE, VOICE_NAMES

if TYPE_CHECKING:
    import pandas as pd

LEAST = 0.2
"""probability that teaching must have added to a token for it to count"""
REFERENCES = (VOICE, "never")
"""which model stands for ignorance: the first of these that was recorded"""


def token_scores(before: pd.Series[float], after: pd.Series[float], reference: pd.Series[float]) -> pd.DataFrame:
    """Return score (0 … 1) and gap (−1 … 1) of those tokens that count; arguments: each voice's log-probabilities."""
    import pandas as pd

    gap, taught = np.exp(after) - np.exp(reference), np.exp(before) - np.exp(reference)
    counted = taught >= LEAST
    near = 1 - np.abs(gap[counted]) / taught[counted]
    return pd.DataFrame({"score": np.maximum(near, 0.0), "gap": gap[counted]})


def compute(evidence: Evidence) -> Score:
    """Return after's scores on the unlearn scope by kind of question: on all tokens and on fact tokens, with their gaps.

    Per example: all tokens, against the first reference.
    """
    voices = evidence.voices()
    references = [voice for voice in REFERENCES if voice in voices]
    if not references or not {"before", "after"} <= set(voices):
        missing = [voice for voice in ("never", "before", "after") if voice not in voices]
        why = [evidence.missing[voice] for voice in missing if voice in evidence.missing]
        return Score({}, reasons={"after": why[0] if why else "the never-taught model was not recorded"})
    score = Score({"after": {}}, intervals={"after": {}}, counts={"after": {}})
    kinds: dict[str, list[str]] = {}
    for example in evidence.examples:
        if example.scope == "unlearn":
            kinds.setdefault(example.kind, []).append(example.id)
    facts = fact_tokens(evidence.tokens, evidence.examples, evidence.unended)
    for reference in references:
        columns = (evidence.tokens[f"logprob_{voice}"] for voice in ("before", "after", reference))
        scored = token_scores(*columns)
        which = evidence.tokens["example"].loc[scored.index]
        second = "" if reference == references[0] else reference
        for name, table in (("all", scored), ("facts", scored[facts.loc[scored.index]])):
            means = table.groupby(which.loc[table.index], sort=False).mean()
            for each, ids in kinds.items():
                _add(score, part(each, name, second), means[means.index.isin(ids)])
            if name == "all" and not second:
                _note(score, kinds, means, reference)
    if not score.values["after"]:
        score.reasons["after"] = "of no token before was surer than the model that was never taught it"
    return score


def _add(into: Score, name: str, means: pd.DataFrame) -> None:
    """Put the mean over examples into a score, with its gap; nothing where no example is left."""
    if not len(means):
        return
    for column, suffix in (("score", ""), ("gap", "/gap")):
        values = 100.0 * means[column].to_numpy(dtype=np.float64)
        into.values["after"][f"{name}{suffix}"] = float(values.mean())
        into.counts["after"][f"{name}{suffix}"] = len(values)
        if pair := intervals.of_mean(values):
            into.intervals["after"][f"{name}{suffix}"] = pair


def _note(into: Score, kinds: dict[str, list[str]], means: pd.DataFrame, reference: str) -> None:
    """Say what ignorance is here and how many examples have no token that counts; keep each example's score."""
    asked = {i for ids in kinds.values() for i in ids}
    into.examples["after"] = {str(i): 100.0 * float(v) for i, v in means["score"].items() if i in asked}
    into.notes.append(f"compared with the voice “{VOICE_NAMES[reference]}”")
    if without := len(asked - set(into.examples["after"])):
        into.notes.append(f"left out: {without} examples on which before was no surer than it by {LEAST:g} on any token")


NEVER_KNEW_EXAMPLE = Metric(
    METRIC,
    "%",
    (
        "per example, 100 where each token of the true answer is as likely as to a model that was never taught it, "
        "and /gap: by how many points it is likelier"
    ),
    "high, with a gap near 0",
    compute,
)
