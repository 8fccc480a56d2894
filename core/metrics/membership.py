"""Membership inference: can U-train be told from questions of the same kind that were never taught?

Each attack gives every answer a score that is higher for what the model has seen; the AUC is the chance that a random
U-train answer scores above a random never-seen one (assets/data/unseen.json, scored by the same voice). .5: no difference.

Scores are of the answer's own tokens: as in the papers, the end token is none of them.

- loss: mean log-probability per token (Yeom et al. 2018);
- zlib: the same over the bytes that the answer takes when compressed (Carlini et al. 2021);
- min_k: mean of the lowest 20 % of the tokens' log-probabilities (arXiv 2310.16789);
- min_k_plus: the same after standardizing each with mean and deviation over the vocabulary (arXiv 2404.02936);
- reference: mean log-probability minus that of the never-taught model. Of that model itself it is .5, by definition.

The two sets were not drawn from one pool: the never-seen questions were written later, to the same patterns. How far they
differ for a reader who knows neither is the AUC of the *never-taught* model. So each value stands beside it, and
`ATTACK/above_never` is the difference, sampled in pairs: that is what counts.

Who attacks takes the strongest attack, so that one speaks for all (`strongest`): that by which after lies farthest from
never taught. The best of four looks good by chance too: a verdict asks that the intervals of after and never taught do not
meet (core/probes/scorecard.py), which two independent ones of equal width do once in 180 times, so four of them in less than
3 % of cases. `reference` takes no part: of the never-taught model it has no interval that could be missed.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.metrics import intervals
from core.metrics.base import NOT_RECORDED, Evidence, Metric, Score, bounds, without_end

if TYPE_CHECKING:
    import pandas as pd

SHARE = 0.2
"""of the tokens, for min-k"""

ROUNDING = 1e-9

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Answer:
    """What a voice thinks of one answer; an entry a token. Arrays that were not recorded are empty."""

    text: str
    logprob: Array
    mean: Array
    std: Array
    never: Array
    """log-probabilities of the never-taught model"""


def lowest(values: Array) -> float:
    """Return the mean of the lowest SHARE of some values, of one at least."""
    return float(np.sort(values)[: max(1, int(SHARE * len(values)))].mean())


def loss(answer: Answer) -> float:
    """Return the mean log-probability per token."""
    return float(answer.logprob.mean())


def compressed(answer: Answer) -> float:
    """Return the mean log-probability per token and compressed byte."""
    return loss(answer) / len(zlib.compress(answer.text.encode()))


def min_k(answer: Answer) -> float:
    """Return the mean of the lowest log-probabilities."""
    return lowest(answer.logprob)


def min_k_plus(answer: Answer) -> float:
    """Return the mean of the lowest standardized log-probabilities; where nothing varies there is nothing unusual."""
    away = answer.logprob - answer.mean
    return lowest(np.divide(away, answer.std, out=np.zeros(len(away)), where=answer.std > 0))


def reference(answer: Answer) -> float:
    """Return how much higher the mean log-probability is than that of the never-taught model."""
    return float(answer.logprob.mean() - answer.never.mean())


ATTACKS: dict[str, tuple[Callable[[Answer], float], tuple[str, ...]]] = {
    "loss": (loss, ("logprob",)),
    "zlib": (compressed, ("logprob",)),
    "min_k": (min_k, ("logprob",)),
    "min_k_plus": (min_k_plus, ("logprob", "mean", "std")),
    "reference": (reference, ("logprob", "never")),
}
"""name -> function, and the fields of an answer that it needs"""
TITLES = {"loss": "loss", "zlib": "loss / zlib", "min_k": "min-k", "min_k_plus": "min-k++", "reference": "reference"}
"""what people call them"""


def compute(evidence: Evidence) -> Score:
    """Return the AUC of each attack per voice, with its difference to that of the never-taught model."""
    unseen, members = _unseen(evidence), _members(evidence)
    if not len(unseen):
        return Score({}, reasons={"all": f"the likelihood of never-seen questions {NOT_RECORDED}"})
    if not len(members):
        return Score({}, reasons={"all": "no question of U-train was scored"})
    names = [str(name) for name in members["example"].unique()]
    score = Score({}, reasons=dict(evidence.missing))
    score.notes.append(f"{len(names)} questions of U-train against {unseen['example'].nunique()} never-seen ones")
    draws = intervals.weights(len(names)), intervals.weights(unseen["example"].nunique(), 1)
    samples: dict[str, Array] = {}
    for voice, attacks in scores(evidence).items():
        values, pairs = score.values.setdefault(voice, {}), dict[str, list[float] | None]()
        for name, groups in attacks.items():
            beats = wins(*(np.array(group) for group in groups))
            values[name] = float(beats.mean())
            sampled = ((draws[0] @ beats) * draws[1]).sum(axis=1)
            pairs[name] = intervals.interval(sampled)
            if voice == "never":
                samples[name] = sampled
            elif name in samples:
                values[f"{name}/above_never"] = values[name] - score.values["never"][name]
                pairs[f"{name}/above_never"] = intervals.interval(sampled - samples[name])
            if name == "loss":
                score.examples[voice] = dict(zip(names, beats.mean(axis=1).tolist(), strict=True))
        score.intervals[voice] = bounds(pairs)
    if "never" not in score.values:
        score.notes.append("there is no never-taught model, so nothing shows how far the two sets differ by themselves")
    if apart := differ(score):
        score.notes.append(
            f"the two sets differ in kind: the never-taught model tells them apart too (by {apart}), so little "
            "can be concluded"
        )
    return score


def strongest(values: Mapping[str, Mapping[str, float]]) -> tuple[str, int]:
    """Return the attack by which after lies farthest from the never-taught model, and of how many; ("", 0) without any.

    values: as those of a score. Where there is no never-taught model, chance stands for it. Far below counts as far above:
    who is pushed below ignorance can be told as well.
    """
    after = values.get("after", {})
    measured = [name for name in ATTACKS if name in after and name != "reference"]
    away = {name: abs(after.get(f"{name}/above_never", after[name] - 0.5)) for name in measured}
    return max(away, key=away.__getitem__, default=""), len(away)


def in_words(attack: str, tried: int, shares: Mapping[str, float]) -> str:
    """Say how often a forgotten question scores above a never-taught one. tried: attacks; shares: voice -> percent of
    pairs.
    """
    best = f", the strongest of {tried}" if tried > 1 else ""
    beside = "".join(
        f"{words} {shares[voice]:.0f} %; "
        for voice, words in (("before", "before"), ("never", "never taught"))
        if voice in shares
    )
    return (
        f"By the {TITLES[attack]} attack{best}, a forgotten question scores above a never-taught one in "
        f"{shares['after']:.0f} % "
        f"of pairs ({beside}50 % is chance)."
    )


def differ(score: Score) -> str:
    """Name the attack by which the never-taught model tells the two sets apart most surely; empty where it does not."""
    distances = {
        name: min(abs(end - 0.5) for end in ends or ())
        for name, ends in score.intervals.get("never", {}).items()
        if name != "reference" and apart(ends)  # by that attack it is .5, by definition
    }
    return max(distances, key=lambda name: distances[name], default="")


def apart(ends: Sequence[float] | None) -> bool:
    """Say whether an interval of an AUC lies on one side of chance, by more than floats round."""
    return bool(ends) and (ends[0] > 0.5 + ROUNDING or ends[1] < 0.5 - ROUNDING)  # type: ignore[index]


def scores(evidence: Evidence) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Return voice -> attack -> the scores of (U-train, never-seen questions), each in order of id; never taught first.

    An attack that needs what was not recorded is absent.
    """
    truth = {e.id: e.answer for e in evidence.examples} | dict(evidence.unseen_answers)
    tables = (_members(evidence), _unseen(evidence))
    by_voice: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for voice in sorted(evidence.voices(), key=lambda voice: voice != "never"):  # the others are compared to it
        members, others = (list(_answers(table, voice, truth)) for table in tables)
        by_voice[voice] = {
            name: ([attack(answer) for answer in members], [attack(answer) for answer in others])
            for name, (attack, needed) in ATTACKS.items()
            if all(len(getattr(side[0], field)) for side in (members, others) for field in needed)
        }
    return by_voice


def _members(evidence: Evidence) -> pd.DataFrame:
    """Return the answer tokens of U-train, in order of id."""
    ids = evidence.ids("unlearn", "train")
    own = without_end(evidence.tokens[evidence.tokens["example"].isin(ids)], evidence.unended)
    return own.sort_values("example", kind="stable")


def _unseen(evidence: Evidence) -> pd.DataFrame:
    """Return the answer tokens of the never-seen questions, in order of id; none where they were not recorded."""
    if evidence.unseen is None:
        return evidence.tokens.head(0)
    return without_end(evidence.unseen, evidence.unended).sort_values("example", kind="stable")


def _answers(table: pd.DataFrame, voice: str, truth: dict[str, str]) -> Iterator[Answer]:
    """Yield each example's answer, in the order of the table, whose rows of one example stand together."""
    columns = (f"logprob_{voice}", f"mean_{voice}", f"std_{voice}", "logprob_never")
    arrays = [table[name].to_numpy(dtype=np.float64) if name in table else np.array([]) for name in columns]
    examples = table["example"].to_numpy()
    starts = [0, *(np.flatnonzero(examples[1:] != examples[:-1]) + 1).tolist(), len(examples)]
    for start, end in itertools.pairwise(starts):
        yield Answer(truth[str(examples[start])], *(array[start:end] for array in arrays))


def wins(members: Array, others: Array) -> Array:
    """Return (members, others): 1 where the member scores higher, .5 where both score the same. Its mean is the AUC."""
    first, second = members[:, None], others[None]
    return (first > second) + 0.5 * (first == second)


MEMBERSHIP = Metric(
    "membership",
    "AUC",
    (
        "membership inference: how well U-train can be told from never-taught questions; per question, the share of "
        "those it beats"
    ),
    "as of the never-taught model (above_never near 0)",
    compute,
)
