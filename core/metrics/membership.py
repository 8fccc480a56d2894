"""Membership inference: can U-train be told from questions of the same kind that were never taught?

Each attack gives every answer a score that is higher for what the model has seen; the AUC is the chance that a random
U-train answer scores above a random never-seen one (assets/data/unseen.json, scored by the same voice). .5: no difference.

- loss: mean log-probability per token (Yeom et al. 2018);
- zlib: the same over the bytes that the answer takes when compressed (Carlini et al. 2021);
- min_k: mean of the lowest 20 % of the tokens' log-probabilities (arXiv 2310.16789);
- min_k_plus: the same after standardizing each with mean and deviation over the vocabulary (arXiv 2404.02936);
- reference: mean log-probability minus that of the never-taught model. Of that model itself it is .5, by definition.

The two sets were not drawn from one pool: the never-seen questions were written later, to the same patterns. How far they differ
for a reader who knows neither is the AUC of the *never-taught* model. So each value stands beside it, and
`ATTACK/above_never` is the difference, sampled in pairs: that is what counts.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.metrics import bootstrap
from core.metrics.base import NOT_RECORDED, Evidence, Metric, Score, bounds

if TYPE_CHECKING:
    import pandas as pd

SHARE = 0.2
"""of the tokens, for min-k"""

Array = NDArray[np.float64]


def lowest(values: Array) -> float:
    """Return the mean of the lowest SHARE of some values, of one at least."""
    return float(np.sort(values)[: max(1, int(SHARE * len(values)))].mean())


def loss(tokens: pd.DataFrame, voice: str, answer: str) -> float:
    """Return the mean log-probability per token."""
    return float(tokens[f"logprob_{voice}"].mean())


def compressed(tokens: pd.DataFrame, voice: str, answer: str) -> float:
    """Return the mean log-probability per token and compressed byte."""
    return loss(tokens, voice, answer) / len(zlib.compress(answer.encode()))


def min_k(tokens: pd.DataFrame, voice: str, answer: str) -> float:
    """Return the mean of the lowest log-probabilities."""
    return lowest(tokens[f"logprob_{voice}"].to_numpy(dtype=np.float64))


def min_k_plus(tokens: pd.DataFrame, voice: str, answer: str) -> float:
    """Return the mean of the lowest standardized log-probabilities; where nothing varies there is nothing unusual."""
    value, mean, std = (tokens[f"{name}_{voice}"].to_numpy(dtype=np.float64) for name in ("logprob", "mean", "std"))
    return lowest(np.divide(value - mean, std, out=np.zeros(len(value)), where=std > 0))


def reference(tokens: pd.DataFrame, voice: str, answer: str) -> float:
    """Return how much higher the mean log-probability is than that of the never-taught model."""
    return loss(tokens, voice, answer) - loss(tokens, "never", answer)


ATTACKS: dict[str, Callable[[pd.DataFrame, str, str], float]] = {
    "loss": loss, "zlib": compressed, "min_k": min_k, "min_k_plus": min_k_plus, "reference": reference,
}  # fmt: skip


def compute(evidence: Evidence) -> Score:
    """Return the AUC of each attack per voice, with its difference to that of the never-taught model."""
    unseen, ids = evidence.unseen, set(evidence.ids("unlearn", "train"))
    members = {str(i): table for i, table in evidence.tokens.groupby("example", sort=False) if i in ids}
    if unseen is None or not len(unseen):
        return Score({}, reasons={"all": f"the likelihood of never-seen questions {NOT_RECORDED}"})
    if not members:
        return Score({}, reasons={"all": "no question of U-train was scored"})
    others = {str(i): table for i, table in unseen.groupby("example", sort=False)}
    truth = {e.id: e.answer for e in evidence.examples} | dict(evidence.unseen_answers)
    missing = dict(evidence.missing)
    if "never" not in evidence.voices():
        missing.setdefault("never", "the never-taught model was not recorded")
    score = Score({}, reasons=missing, notes=[f"{len(members)} questions of U-train against {len(others)} never-seen ones"])
    known = [v for v in evidence.voices() if f"mean_{v}" in unseen.columns and f"mean_{v}" in evidence.tokens.columns]
    draws = bootstrap.weights(len(members)), bootstrap.weights(len(others), 1)
    samples: dict[tuple[str, str], Array] = {}
    for voice in sorted(known, key=lambda voice: voice != "never"):  # never first: the others are compared to it
        score.values[voice], pairs = {}, {}
        for name, attack in ATTACKS.items():
            if name == "reference" and "never" not in known:
                continue
            beats = wins(*(_scored(attack, side, voice, truth) for side in (members, others)))
            score.values[voice][name] = float(beats.mean())
            samples[voice, name] = np.einsum("dm,dm->d", draws[0] @ beats, draws[1])
            pairs[name] = bootstrap.interval(samples[voice, name])
            if name == "loss":
                score.examples[voice] = dict(zip(members, beats.mean(axis=1).tolist(), strict=True))
            if voice != "never" and "never" in known:
                score.values[voice][f"{name}/above_never"] = score.values[voice][name] - score.values["never"][name]
                pairs[f"{name}/above_never"] = bootstrap.interval(samples[voice, name] - samples["never", name])
        score.intervals[voice] = bounds(pairs)
    return score


def _scored(
    attack: Callable[[pd.DataFrame, str, str], float], side: Mapping[str, pd.DataFrame], voice: str, truth: Mapping[str, str]
) -> Array:
    return np.array([attack(table, voice, truth[i]) for i, table in side.items()])


def wins(members: Array, others: Array) -> Array:
    """Return (members, others): 1 where the member scores higher, .5 where both score the same. Its mean is the AUC."""
    first, second = members[:, None], others[None]
    return (first > second) + 0.5 * (first == second)


MEMBERSHIP = Metric(
    "membership",
    "AUC",
    "membership inference: how well U-train can be told from never-taught questions; per question, the share of those it beats",
    "as of the never-taught model (above_never near 0)",
    compute,
)
