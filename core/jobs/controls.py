"""Controls of a finished run: the same method and settings on other regions, and what that shows, in plain sentences.

All tensors; random regions like the given one (core/regions/matched.py), 19 draws, as many as a permutation test at .05
needs; all others; the modules that would lose the facts (core/regions/scored.py); the paper's rule with the scopes
exchanged; the same rule on gradients from other random answers. Each stops where it has forgotten as much as the given run.
Controls of runs that differ in nothing but the seed, so in their teaching, are put together
(core/metrics/equivalence.py). Reads and writes files only; no torch.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.run_config import RunConfig
from core.config.stages import UnlearnConfig
from core.jobs import sweep as sweep_
from core.jobs.sweep import Entry, Member, Sweep
from core.jobs.sweep_scores import row
from core.metrics import equivalence, paired
from core.metrics.paired import Mean, Successes
from core.regions import All, Cells, Complement, Located, Random, RatioLayers, Region, Scored, Swapped, Top
from core.regions.matched import matched
from core.regions.scored import COLUMN
from core.regions.words import words
from core.runs import asked, scores
from core.runs.asked import NEXT_WORD
from core.runs.scores import Scores
from core.runs.store import Run
from core.util.errors import UserError
from core.util.safe_read import mapping, stamp

if TYPE_CHECKING:
    import pandas as pd

DRAWS = 19
SPLIT = "val"
MEASURED = (Located, Top, Scored, RatioLayers)
"""rules that choose by gradients, for which other random answers make a control"""


UNDECIDED = "Whether random regions would have done as well, this run’s controls cannot say yet."


@dataclass(frozen=True)
class Controls:
    """What the controls of a run say."""

    rows: list[dict[str, Any]]
    """the given run first: as core.jobs.sweep_scores.row gives them, with `control` and `interval`: average success on val
    as [value, low, high], None where it is not there"""
    sentence: str
    """what they say, in words; empty until the given run and a random region are there"""
    said: Mean | None
    """points that the given run has more than the mean of the random regions, of U that is not said and R that is, when
    asked what says the most of them; None where it was not counted"""
    next_word: Mean | None
    """the same of average success on val, by next-word accuracy"""
    on_average: Mean | None
    """as `said`, or else `next_word`, but its interval is that of the mean over all such random regions, not of one more"""
    p: float | None
    """of the permutation test: the share of regions, the given one among them, that do as well as it"""
    verdict: str
    """what all teachings of this run decide, in a sentence; empty where nothing can be said"""
    sweep: str
    """id of the sweep"""
    state: str
    """of the sweep"""

    @property
    def in_short(self) -> str:
        """Whether the region beats random ones, in two sentences; empty where there is nothing to hold it against."""
        if self.on_average is None or self.p is None or not self.verdict:
            return UNDECIDED if self.sentence else ""
        draws = sum(_random(row.get("control")) and row.get("state") == "done" for row in self.rows)
        value, ends, how = self.on_average.value, (self.on_average.low, self.on_average.high), "better"
        if value < 0:
            value, ends, how = -value, (-ends[1], -ends[0]), "worse"
        return (
            f"This run’s region forgets and keeps {value:.1f} points {how} than {draws} random regions like it "
            f"({_signed(ends[0])} to {_signed(ends[1])}; p = {self.p:.2f}). {self.verdict}"
        )


def create(run: Run, folder: Path) -> Sweep:
    """Make the controls of a finished run, queued. Raises UserError where it is not finished or has no counterpart."""
    config = run.config()
    return sweep_.create("controls", f"controls of {config.name or run.id}"[:60], {"run": run.id}, members(run), folder)


def members(run: Run) -> list[Member]:
    """Return the given run and what its controls would be. Raises UserError where it is not finished or has no
    counterpart.
    """
    if run.status().get("state") != "done":
        raise UserError(f"The run {run.id} is not finished.", "Controls need its region and its scores.")
    config = run.config()
    if config.audit.after:
        raise UserError("This is an audit of models made elsewhere: nothing was located here.", "Take a run of your own.")
    if config.unlearn.result_step and config.unlearn.picked_on != "dev":  # what dev chose holds for the controls as well
        raise UserError(
            "A checkpoint was picked as this run's result, and a control has nobody who picks one.",
            "Make the controls of the run that it was picked from.",
        )
    runs = [Member(config, _at(config, "given"), "given", run)]
    for name, region, offset in regions(run, config.region):
        changed = dataclasses.replace(config, region=region, unlearn=as_far(run, config.unlearn))
        if offset:
            changed = changed.with_setting("localize.seed_offset", config.localize.seed_offset + offset)
        runs.append(Member(changed, _at(config, name), "control"))
    return runs


def as_far(run: Run, unlearn: UnlearnConfig) -> UnlearnConfig:
    """Return settings with which another region stops where it has forgotten as much as a run, by the run's own checks.

    A run that was picked by what is said is met in that, any other in next-word accuracy. Where it recorded no check, the
    settings stay.
    """
    record = mapping(run.json("unlearn.json"))
    checks = {check["step"]: check for check in record.get("checks", [])}
    kept = checks.get(record.get("step"), {})
    unlearn = dataclasses.replace(unlearn, result_step=0, picked_on="")
    if unlearn.pick == "said" and "said_forgotten" in kept:
        return dataclasses.replace(unlearn, forgotten=kept["said_forgotten"])
    return dataclasses.replace(unlearn, stop=f"{kept['unlearn']:.2f}") if "unlearn" in kept else unlearn


def _at(config: RunConfig, control: str) -> dict[str, Any]:
    return {"method": config.unlearn.method.label, "control": control, "seed": config.seed}


def regions(run: Run, rule: Region) -> list[tuple[str, Region, int]]:
    """Return (name, rule, offset of the localization's seed) of each control that a region has.

    Random regions are lists of tensors, so they stay the same whatever is measured. Other counterparts of the paper's rule
    follow its thresholds.
    """
    if isinstance(rule, All | Random | Complement | Swapped):
        raise UserError(f"The region “{rule.name}” is a control itself.", "Name a run on a region that was chosen.")
    controls: list[tuple[str, Region, int]] = [("all", All(), 0)]
    table, inside = _tensors(run)
    controls += [(f"random {draw}", Cells(matched(table, inside, draw)), 0) for draw in range(DRAWS)]
    if type(rule) is Located:
        kept = {key: getattr(rule, key) for key in ("thresholds", "mu", "sigma", "published")}
        controls += [("complement", Complement(**kept), 0), ("scopes exchanged", Swapped(**kept), 0)]
    else:
        live = table.loc[table["has_gradient"], "name"]
        controls.append(("complement", Cells(tuple(name for name in live if name not in inside)), 0))
    if COLUMN.format(Scored.score) in table and not isinstance(rule, Scored):
        # Two tensors a module: as many tensors as the given region has, of the modules that hold it.
        controls.append(("modules that hold it", Scored(amount=str(max(1, round(len(inside) / 2)))), 0))
    if isinstance(rule, MEASURED):
        controls.append(("other random answers", rule, 1))
    return controls


def _tensors(run: Run) -> tuple[pd.DataFrame, set[str]]:
    table, region = run.table("localization"), run.json("region.json")
    if table is None or not isinstance(region, dict):
        raise UserError(f"The run {run.id} has no region that can be read.", "It is damaged: start it again.")
    inside = set(region["tensors"])
    if inside >= set(table.loc[table["has_gradient"], "name"]):
        raise UserError("This region holds every tensor.", "There is nothing to compare it with.")
    return table, inside


def find(run: Run, folder: Path) -> Sweep | None:
    """Return the latest controls of a run, None where there are none."""
    matches = (
        s for s in sweep_.list_sweeps(folder) if s.kind == "controls" and s.record().get("asked", {}).get("run") == run.id
    )
    return next(matches, None)


def read(run: Run, folder: Path) -> Controls | None:
    """Return what the latest controls of a run say, as far as they are finished; None where there are none."""
    sweep = find(run, folder)
    return None if sweep is None else result(sweep)


def result(sweep: Sweep) -> Controls:
    """Return what a sweep of controls says, as far as it is finished."""
    entries, state = sweep.entries(), str(sweep_.state(sweep)["state"])
    rows = [
        {**row(entry), "control": entry.coordinates.get("control", ""), "interval": _interval(entry)} for entry in entries
    ]
    given = next((e for e in entries if e.role == "given"), None)
    others = [e for e in entries if _random(e.coordinates.get("control")) and _done(e)]
    if given is None or not _done(given) or not others:
        return _silent(rows, "", sweep, state)
    if len({taught for entry in (given, *others) if (taught := _taught(entry))}) > 1:
        return _silent(rows, APART, sweep, state)
    keys = _keys(sweep)
    said, next_word, missing = None, None, ""
    try:
        said = _said(*keys)
        next_word = _next_word(*keys)
    except UserError as error:  # data without val, or a damaged run
        missing = str(error)
    broken = sum(bool(row(entry)["diverged"]) for entry in others)
    parts = [sentence(_called(given.run), len(others), broken, said, next_word), missing]
    over = _over_draws(*keys) if said or next_word else None
    decided = ""
    if over and len(others) > 1 and not broken:
        decided = equivalence.verdict([over.mean.value, *_other_teachings(sweep)])
        parts += [over.words, decided]
    mean, p = (over.mean, over.p) if over else (None, None)
    told, one_more = " ".join(filter(None, parts)), said.difference if said else None
    return Controls(rows, told, one_more, next_word, mean, p, decided, sweep.id, state)


def _random(control: object) -> bool:
    return str(control or "").startswith("random")


def _signed(value: float) -> str:
    return f"{value:.1f}".replace("-", "−")


def _silent(rows: list[dict[str, Any]], why: str, sweep: Sweep, state: str) -> Controls:
    return Controls(rows, why, None, None, None, None, "", sweep.id, state)


def _keys(sweep: Sweep) -> tuple[Key, tuple[Key, ...]]:
    """Return the given run and its finished random regions."""
    entries = sweep.entries()
    given = next(entry for entry in entries if entry.role == "given")
    others = (e for e in entries if _random(e.coordinates.get("control")) and _done(e))
    return _key(given.run), tuple(_key(other.run) for other in others)


@dataclass(frozen=True)
class OverDraws:
    """A run against the mean of all random regions like its own."""

    mean: Mean
    """points that it has more"""
    p: float
    """of the permutation test"""

    @property
    def words(self) -> str:
        """Say it in a sentence."""
        value, low, high = map(_signed, (self.mean.value, self.mean.low, self.mean.high))
        return f"Over the mean of all such regions it has {value} points more ({low} to {high}; p = {self.p:.2f})."


@functools.lru_cache(maxsize=256)
def _over_draws(given: Key, others: tuple[Key, ...]) -> OverDraws | None:
    """Return by how much a run exceeds the mean random region: by what is said where that was counted, else next words."""
    try:
        known = _said_by(given, others) or list(filter(None, map(_next_word_of, (given, *others))))
    except UserError:
        return None
    if len(known) <= len(others):
        return None
    mine, *theirs = known
    each = paired.advantages(mine, theirs)
    return OverDraws(paired.difference(mine, theirs, one_more=False), equivalence.permutation(each))


def _other_teachings(sweep: Sweep) -> list[float]:
    """Return the mean advantage of runs that differ in nothing but the seed, of those whose controls are done."""
    own = _alike(next(entry.run for entry in sweep.entries() if entry.role == "given"))
    values, seeds = [], {own[1]}
    for other in sweep_.list_sweeps(sweep.folder):
        given = next((entry.run for entry in other.entries() if entry.role == "given"), None)
        if other.kind != "controls" or given is None or sweep_.state(other)["state"] != "done":
            continue
        settings, seed = _alike(given)
        if settings == own[0] and seed not in seeds and (over := _over_draws(*_keys(other))):
            seeds.add(seed)
            values.append(over.mean.value)
    return values


def _alike(run: Run) -> tuple[dict[str, Any], int]:
    """Return what two teachings of one thing have in common, and the seed, in which they differ."""
    settings = {key: value for key, value in run.config().to_json().items() if key not in ("name", "preset")}
    return settings, settings.pop("seed")


APART = (
    "The run was made from another taught model than its controls (other number format, machine or number of processes), so "
    "their difference is not that of the regions alone: start the run again here, and make its controls."
)


def _taught(entry: Entry) -> str:
    """Return what tells the model that a run began with from others; empty where its manifest does not say."""
    manifest = entry.run.json("manifest.json")
    node: Any = manifest if isinstance(manifest, dict) else {}
    # On a merged base "before" is a fresh adapter, the same whatever was taught.
    keys = ("stages", "teach", "key") if entry.run.config().teach.merge else ("adapters", "before")
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return node if isinstance(node, str) else ""


@dataclass(frozen=True)
class Said:
    """What a run and random regions say when asked."""

    words: str
    """how many facts of both scopes, a sentence or two"""
    difference: Mean
    """points that the run has more, of U that is not said and R that is"""


def sentence(region: str, draws: int, diverged: int, said: Said | None, next_word: Mean | None) -> str:
    """Say whether a region beats random ones: it does where the whole interval lies above nothing. One draw cannot say.

    What is said when asked leads; the paper's numbers stand beside. region: what it is called. diverged: how many of the
    random ones broke off. That they lost says nothing about where a region lies.
    """
    certain = draws > 1 and not diverged
    parts = []
    if said:
        parts += [said.words, f"Over both scopes, {region} {_against(said.difference, draws, certain)}."]
    if next_word:
        parts.append(f"By {NEXT_WORD}, {region} {_against(next_word, draws, certain)} of average success.")
    if parts and draws == 1:
        parts.append("That says nothing about others.")
    elif parts and diverged:
        parts.append(f"But {'one' if diverged == 1 else diverged} of these diverged: nothing can be said of the regions.")
    return " ".join(parts)


def _called(run: Run) -> str:
    rule = run.config().region
    return "the located region" if type(rule) is Located else f"the region ({words(rule)})"


def _against(difference: Mean, draws: int, certain: bool) -> str:
    points = f"{_signed(difference.value)} ± {difference.half:.1f} points"
    random_ones = "one random region" if draws == 1 else f"{draws} random ones"
    if not certain:
        return f"differs from {random_ones} by {points}"
    return f"beats {random_ones} by {points}" if difference.low > 0 else f"does not beat {random_ones}: {points}"


def _done(entry: Entry) -> bool:
    return entry.run.status().get("state") == "done"


def _interval(entry: Entry) -> list[float] | None:
    if not _done(entry):
        return None
    mean = _average(_key(entry.run))
    return None if mean is None else [mean.value, mean.low, mean.high]


FILES = ("tokens.parquet", "answers.jsonl", scores.FILE)
"""what is compared of a run"""
Key = tuple[str, tuple[tuple[int, int], ...]]
"""a run's folder and the versions of these files"""


def _key(run: Run) -> Key:
    return str(run.path), tuple(stamp(run.path / name) for name in FILES)


def _next_word_of(key: Key) -> Successes | None:
    """Return the next-word success of a run on val, None where it has no tokens. Raises UserError for data without val."""
    tokens = Run(Path(key[0])).table("tokens")
    return None if tokens is None else paired.success(tokens, SPLIT)


@functools.lru_cache(maxsize=1024)
def _average(key: Key) -> Mean | None:
    try:
        successes = _next_word_of(key)
    except UserError:  # data without val: there is no such number, and the row says so by having none
        return None
    return None if successes is None else paired.average(successes)


@functools.lru_cache(maxsize=256)
def _next_word(given: Key, others: tuple[Key, ...]) -> Mean:
    mine, *theirs = [one for one in map(_next_word_of, (given, *others)) if one is not None]
    if len(theirs) < len(others):
        raise UserError("A run of these controls has no token scores.", "It is damaged: start it again.")
    return paired.difference(mine, theirs)


@functools.lru_cache(maxsize=256)
def _said(given: Key, others: tuple[Key, ...]) -> Said | None:
    """Return what a run and random regions say when asked; None where that was not counted of all of them."""
    successes = _said_by(given, others)
    if successes is None:
        return None
    run, *draws = (Run(Path(key[0])) for key in (given, *others))
    say = "One random region of as many tensors says"
    if len(draws) > 1:
        say = f"{len(draws)} random regions of as many tensors say, on average,"
    words = asked.beside(Scores.read(run), [Scores.read(draw) for draw in draws], _called(run), say)
    return Said(words, paired.difference(successes[0], successes[1:]))


def _said_by(given: Key, others: tuple[Key, ...]) -> list[Successes] | None:
    """Return what a run and its random regions say when asked; None where that was not counted of all of them."""
    runs = [Run(Path(key[0])) for key in (given, *others)]
    measured = [Scores.read(run) for run in runs]
    if not asked.beside(measured[0], measured[1:], "", ""):
        return None
    return [paired.said(run, asked.kind_asked(measured[0])) for run in runs]
