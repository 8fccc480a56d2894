"""What plantings of facts show (core/localization/planted.py): which score finds the planted modules, and how well.

A planting is one draw of modules and facts (`plant`) and one teaching (`seed`). Plain numbers and files, no torch.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from core.data.corpus import Corpus, Example
from core.localization.scores import SCORES, best
from core.metrics import intervals
from core.util.errors import UserError
from core.util.safe_read import mapping, number

UNLEARN, RETENTION, DECOY = ROLES = ("unlearn", "retention", "decoy")
"""what a set of facts is: what is to be forgotten, what is to be kept, what nobody asks for"""


def fact_sets(corpus: Corpus, sets: int, most: int, place: int) -> list[list[Example]]:
    """Draw disjoint sets of facts, one question each: the first of U, the second of R, then decoys of what is left of both.

    All have the same size, at most `most`; where there are too few facts, there are fewer sets of decoys. place: seed.
    Raises UserError where there are not four facts for each of three sets.
    """
    source, left = random.Random(place), {}
    for scope in ROLES[:2]:
        by_fact: dict[tuple[str, str], list[Example]] = {}
        for e in corpus.select(scope, "train"):
            by_fact.setdefault((e.subject, e.answer), []).append(e)
        left[scope] = [source.choice(wordings) for wordings in by_fact.values()]
        source.shuffle(left[scope])
    known = [len(facts) for facts in left.values()]
    size = min(most, *known, sum(known) // 3)
    if size < FEWEST:
        raise UserError(
            f"There are {known[0]} facts to be forgotten and {known[1]} to be kept: too few to plant.",
            f"Give at least {FEWEST} of each, and {3 * FEWEST} in all.",
        )
    chosen = [left[scope][:size] for scope in ROLES[:2]]
    rest = [e for scope in ROLES[:2] for e in left[scope][size:]]
    source.shuffle(rest)
    decoys = [rest[start : start + size] for start in range(0, len(rest) - size + 1, size)]
    return [*chosen, *decoys[: sets - 2]]


FEWEST = 4
"""facts of a set"""


def found(roles: Mapping[str, str], scores: pd.DataFrame) -> pd.DataFrame:
    """Say how well each score finds the modules that hold U. scores: one row a module (index: name), one column a score.

    Returns one row a score: auc_ROLE with auc_ROLE_low and auc_ROLE_high (95 % over modules) against those that hold R, and
    against those with decoys; precision, the share of U's modules among as many of the highest. NaN counts as lowest.
    """
    role = np.array([roles[name] for name in scores.index])
    rows = {}
    for name in scores:
        values = scores[name].fillna(-np.inf)
        row: dict[str, float] = {}
        for other in (RETENTION, DECOY):
            pair = values[role == UNLEARN].to_numpy(float), values[role == other].to_numpy(float)
            ends = dict(zip(("", "_low", "_high"), intervals.auc_interval(*pair), strict=True))
            row |= {f"auc_{other}{end}": value for end, value in ends.items()}
        highest = best(values, int((role == UNLEARN).sum()))
        row["precision"] = float(np.mean([roles[module] == UNLEARN for module in highest]))
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def together(plantings: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return score -> {measure: [mean, low, high]} over draws of modules, with Student's 95 % interval; low None for one.

    plantings: as planting.json holds them. Teachings of one draw share its modules and its facts, so they count as one
    value, their mean. Of a score, `above_update` is by how much its auc_decoy and auc_retention, on average, exceed those
    of ‖ΔW‖ in the same planting.
    """
    draws = [planting["plant"] for planting in plantings]
    result: dict[str, dict[str, Any]] = {}
    for score in plantings[0]["found"] if plantings else ():
        rows = [planting["found"][score] for planting in plantings]
        result[score] = {measure: _interval(draws, [row[measure] for row in rows]) for measure in MEASURES}
        gaps = [_both(p["found"][score]) - _both(p["found"]["update"]) for p in plantings]
        result[score]["above_update"] = _interval(draws, gaps, bounded=False)
    return result


MEASURES = ("auc_retention", "auc_decoy", "precision")


def _both(row: Mapping[str, float]) -> float:
    return (row["auc_retention"] + row["auc_decoy"]) / 2


def _interval(draws: Sequence[int], values: Sequence[float], *, bounded: bool = True) -> list[float | None]:
    mean, half = intervals.t_interval(pd.Series(values).groupby(list(draws)).mean().tolist())
    if half is None:
        return [mean, None, None]
    low, high = mean - half, mean + half
    return [mean, max(0.0, low), min(1.0, high)] if bounded else [mean, low, high]


def sentences(record: Mapping[str, Any]) -> list[str]:
    """Say what planted.json shows: whether the facts lie where they were planted, and which scores find them."""
    plantings, scores = record.get("plantings", []), record.get("scores", {})
    if not plantings:
        return ["Nothing has been planted yet."]
    size, lines = int(record["settings"]["cells"]), [held(record)]
    for own, other, words in ((UNLEARN, RETENTION, "to be forgotten"), (RETENTION, UNLEARN, "to be kept")):
        shares = [_share(plantings, own, when) for when in ("taught", f"without_{own}", f"without_{other}")]
        taught, without, besides = (f"{share:.0f} %" for share in shares)
        lines.append(f"Words of facts {words}: {taught}, {without} without their modules, {besides} without the others'.")
    lines.append(f"The updates that hold U are {_times(plantings):.2f} times as large as those with decoys.")
    for score in dict.fromkeys(("located", best_score(scores), "ablation")):
        if score in scores:
            lines.append(f"{_by_name(score)} found {hits(record, score):.1f} of {size} modules.")
    return [*lines, f"By chance it would be {by_chance(record):.1f} of {size}.", verdict(record)]


def held(record: Mapping[str, Any]) -> str:
    """Say whether the facts lie where they were planted."""
    plantings = record["plantings"]
    count = sum(bool(planting["holds"]) for planting in plantings)
    return f"In {count} of {len(plantings)} plantings the facts went with their modules, and the others stayed."


def by_chance(record: Mapping[str, Any]) -> float:
    """Return how many of U's modules are, on average, among as many that are drawn."""
    size = int(record["settings"]["cells"])
    return size * size / len(record["plantings"][0]["modules"])


def _by_name(score: str) -> str:
    return CALLED.get(score, f"The score {score}")


def verdict(record: Mapping[str, Any], named: Callable[[str], str] = _by_name) -> str:
    """Say whether the best score does better than the size of the change alone. named: score -> how the sentence begins."""
    winner = best_score(record["scores"])
    low = record["scores"][winner]["above_update"][1]
    if low is None:
        return "One draw of modules cannot say whether a score does better than the size of the change."
    if low > 0:
        return f"{named(winner)} does better than the size of the change alone."
    return "No score is shown to do better than the size of the change alone."


def hits(record: Mapping[str, Any], score: str) -> float:
    """Return how many of U's modules a score found, a mean over plantings."""
    return float(record["settings"]["cells"] * record["scores"][score]["precision"][0])


def beside(record: Mapping[str, Any], score: str) -> str:
    """Say in two sentences, for who looks at a score in this model, how well it found planted truth there; empty where no
    record is about it.
    """
    if score not in mapping(record.get("scores")):
        return ""
    size, score_hits, chance = record["settings"]["cells"], hits(record, score), by_chance(record)
    found, drawn = (f"{count:.1f}".removesuffix(".0") for count in (score_hits, chance))
    name = CALLED.get(score, "This score")
    who = f"{name[:1].lower()}{name[1:]}"
    mean = " on average" if len(record["plantings"]) > 1 else ""
    return (
        f"Of {size} modules of this model where facts were planted, {who} found {found}{mean}; chance finds {drawn}. "
        "Where this run's facts lie is unknown."
    )


def called(score: str) -> str:
    """Return what a score is called, by the name that the record has for it."""
    return CALLED.get(score) or (SCORES[score].title if score in SCORES else score)


def readable(record: Mapping[str, Any]) -> bool:
    """Say whether a record, which anything may have written, has all that is read from it."""
    plantings, scores = record.get("plantings"), mapping(record.get("scores"))
    size = number(mapping(record.get("settings")).get("cells"))
    return (
        bool(size and size >= 1 and isinstance(plantings, list) and plantings)
        and bool(set(scores) - set(NO_CANDIDATES))
        and "update" in scores
        and all(_triple(mapping(score).get(name)) for score in scores.values() for name in (*MEASURES, "above_update"))
        and all(_whole(mapping(one), scores) for one in plantings or ())
    )


def renewed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record that is `readable` with its scores put together as today, whatever version made it."""
    names = set(mapping(record["scores"]))
    ones = [one | {"found": {name: one["found"][name] for name in names}} for one in record["plantings"]]
    return {**record, "scores": together(ones)}


def _triple(value: Any) -> bool:
    """Say whether something is [mean, low, high], the last two None or numbers."""
    if not isinstance(value, list) or len(value) != 3:
        return False
    numbers = [number(one) for one in value]
    return numbers[0] is not None and (value[1:] == [None, None] or None not in numbers)


def _whole(planting: Mapping[str, Any], scores: Iterable[str]) -> bool:
    """Say whether a planting has its number, each module's set, and of each score a value for each and what it found."""
    modules, sets = planting.get("modules"), planting.get("sets")
    if not isinstance(modules, list) or not isinstance(sets, list) or not modules or number(planting.get("plant")) is None:
        return False
    values, seen = mapping(planting.get("scores")), mapping(planting.get("found"))
    columns = [sets, *(values.get(score) for score in scores)]
    known = all(number(mapping(seen.get(score)).get(measure)) is not None for score in scores for measure in MEASURES)
    return known and all(isinstance(column, list) and len(column) == len(modules) for column in columns)


def _share(plantings: Sequence[Mapping[str, Any]], role: str, when: str) -> float:
    """Return the probability (%) of a role's fact words: geometric mean over words, mean over plantings."""
    return 100 * float(np.mean([math.exp(planting["check"][role][when]) for planting in plantings]))


def _times(plantings: Sequence[Mapping[str, Any]]) -> float:
    """Return how many times as large as decoys' updates those of U are, relative to their weights; mean over plantings."""
    ratios = []
    for planting in plantings:
        sizes, sets = np.array(planting["sizes"]), np.array(planting["sets"])
        ratios.append(sizes[sets == 0].mean() / sizes[sets > 1].mean())
    return float(np.mean(ratios))


CALLED: dict[str, str] = {"located": "The paper's rule", "ablation": "Trying each module out"}
"""what is in no line of SCORES -> what it is called"""


def best_score(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the score, of those that cost one pass of gradients, that tells planted modules from others best."""
    among = [name for name in scores if name not in NO_CANDIDATES]
    return max(among, key=lambda name: sum(scores[name][f"auc_{other}"][0] for other in (RETENTION, DECOY)))


BASELINES = ("update", "chance")
"""what says nothing about the facts, so that every score should beat it"""
NO_CANDIDATES = (*BASELINES, "ablation")
"""what scores are held against"""
