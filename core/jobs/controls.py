"""Controls of a finished run: the same method and settings on other regions, and what that shows, in plain sentences.

All tensors; random regions like the given one (core/regions/matched.py), 19 draws, as many as a permutation test at .05
needs; all others; the modules that would lose the facts (core/regions/scored.py); the paper's rule with the scopes
exchanged; the same rule on gradients from other random answers. Each stops where it has forgotten as much as the given run.
Controls of runs that differ in nothing but the seed, so in their teaching, are put together
(core/metrics/equivalence.py). What they say is kept in the run's own folder, so that it goes where the run goes.
Reads and writes files only; no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.run_config import RunConfig
from core.config.stages import UnlearnConfig
from core.data.corpus import ASKED_ONLY, SPLITS
from core.jobs import sweep as sweep_
from core.jobs.sweep import Entry, Member, Sweep
from core.jobs.sweep_scores import row
from core.metrics import equivalence, random_regions
from core.metrics.paired import Mean
from core.metrics.random_regions import Key, in_points, key
from core.regions import All, Cells, Complement, Located, Random, RatioLayers, Region, Scored, Swapped, Top
from core.regions.base import reached
from core.regions.matched import matched
from core.regions.scored import COLUMN
from core.runs import asked
from core.runs.scores import Scores
from core.runs.store import Run
from core.util import files
from core.util.errors import UserError
from core.util.safe_read import mapping, number

if TYPE_CHECKING:
    import pandas as pd

DRAWS = 19
FILE = "controls.json"
"""what finished controls said, in the folder of the run that they are of"""
MEASURED = (Located, Top, Scored, RatioLayers)
"""rules that choose by gradients, for which other random answers make a control"""


UNDECIDED = "Whether random regions would have done as well, this run’s controls cannot say yet."


@dataclass(frozen=True)
class Controls:
    """What the controls of a run say."""

    rows: list[dict[str, Any]]
    """the given run first: as core.jobs.sweep_scores.row gives them, with `control` and, as [value, low, high] or None where
    it is not there, the mean over both scopes of what is right when `asked` and of next-word success on val (`interval`)"""
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
    others: Mean | None = None
    """as `on_average`, asked for other facts, which unlearning never saw; None where these are not asked, or lead"""
    others_p: float | None = None
    """of their permutation test"""
    kind: str = ""
    """of question that `said` counts; empty where nothing was asked, and in what earlier versions kept"""

    @property
    def in_short(self) -> str:
        """Whether the region beats random ones, in a few sentences; empty where there is nothing to hold it against."""
        if self.on_average is None or self.p is None or not self.verdict:
            return UNDECIDED if self.sentence else ""
        draws = sum(_random(row.get("control")) and row.get("state") == "done" for row in self.rows)
        points, ends = in_points(self.on_average, "better", "worse")
        alone = "" if self.on_average.low > 0 or self.on_average.high < 0 else ", which does not decide it"
        this = f"Asked {asked.ASKED[self.kind]}, this" if self.kind in asked.ASKED else "This"
        there = ""
        if self.others:
            elsewhere, around = in_points(self.others, "better", "worse")
            chance = "" if self.others_p is None else f"; p = {self.others_p:.2f}"
            there = f" Asked for facts that unlearning never saw, it is {elsewhere} ({around}{chance})."
        return (
            f"{this} run’s region forgets and keeps {points} than {draws} random regions like it "
            f"({ends}; p = {self.p:.2f}){alone}. {self.verdict}{there}"
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
    # What a control is held against, and no more: the kind of question that says the most of the given run, and val.
    leading = asked.kind_asked(Scores.read_once(run))
    val = [random_regions.SPLIT] if any(row.get("split") == random_regions.SPLIT for row in run.answers()) else []
    compared = dict.fromkeys((*val, *((leading,) if leading in (*SPLITS, *ASKED_ONLY) else ())))
    evaluate = dataclasses.replace(config.evaluate, extras=False, splits=config.evaluate.splits or tuple(compared))
    runs = [Member(config, _at(config, "given"), "given", run)]
    for name, region, offset in regions(run, config.region):
        changed = dataclasses.replace(config, region=region, unlearn=as_far(run, config.unlearn), evaluate=evaluate)
        if offset:
            changed = changed.with_setting("localize.seed_offset", config.localize.seed_offset + offset)
        runs.append(Member(changed, _at(config, name), "control"))
    return runs


def as_far(run: Run, unlearn: UnlearnConfig) -> UnlearnConfig:
    """Return settings with which another region stops where it has forgotten as much as a run, by the run's own checks.

    A run that was picked by what is said is met in that, any other in next-word accuracy: looked at twice as often, to
    meet it closely, and for twice as many steps, since other regions may be slower; a rate that falls is as it was. Where
    it recorded no check, the number of steps stays.
    """
    record = mapping(run.json("unlearn.json"))
    checks = {check["step"]: check for check in record.get("checks", [])}
    kept = checks.get(record.get("step"), {})
    unlearn = dataclasses.replace(unlearn, result_step=0, picked_on="", watch=0)
    if unlearn.pick == "said" and "said_forgotten" in kept:
        return dataclasses.replace(unlearn, forgotten=kept["said_forgotten"])
    if "unlearn" not in kept:
        return unlearn
    longer = 2 if unlearn.schedule == "constant" else 1
    often = max(1, unlearn.check_every // 2)
    return dataclasses.replace(
        unlearn,
        stop=f"{kept['unlearn']:.2f}",
        steps=longer * unlearn.steps,
        epochs=longer * unlearn.epochs,
        check_every=often,
    )


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
        live = table.loc[reached(table), "name"]
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
    if inside >= set(table.loc[reached(table), "name"]):
        raise UserError("This region holds every tensor.", "There is nothing to compare it with.")
    return table, inside


def find(run: Run, folder: Path) -> Sweep | None:
    """Return the latest controls of a run, None where there are none."""
    matches = (
        s for s in sweep_.list_sweeps(folder) if s.kind == "controls" and s.record().get("asked", {}).get("run") == run.id
    )
    return next(matches, None)


def read(run: Run, folder: Path) -> Controls | None:
    """Return what the latest controls of a run say, as far as they are finished, or what is kept of earlier ones; None where
    there are none.
    """
    sweep = find(run, folder)
    return kept(run) if sweep is None else result(sweep)


def keep(sweep: Sweep) -> None:
    """Write what finished controls say into the folder of the run that they are of; a bundled run's stays as it is."""
    given = next((entry.run for entry in sweep.entries() if entry.role == "given"), None)
    if given is not None and not given.bundled and (outcome := result(sweep)).sentence:
        files.write_json(given.path / FILE, {"format": 1, **dataclasses.asdict(dataclasses.replace(outcome, state="done"))})


def kept(run: Run) -> Controls | None:
    """Return what is kept of a run's controls, which may be somebody else's file; None where nothing can be read."""
    record = mapping(run.json(FILE))
    listed = record.get("rows")
    rows = [_row(row, run) for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
    if record.get("format") != 1 or not rows:
        return None
    said, next_word, on_average, others = (_mean(record.get(name)) for name in ("said", "next_word", "on_average", "others"))
    text = {name: str(record.get(name) or "") for name in ("sentence", "verdict", "sweep")}
    return Controls(
        *(rows, text["sentence"], said, next_word, on_average, number(record.get("p"))),
        *(text["verdict"], text["sweep"], "done", others, number(record.get("others_p")), str(record.get("kind") or "")),
    )


def _row(row: dict[str, Any], run: Run) -> dict[str, Any]:
    """Return a row that can be relied on; the given run's is this one's, which may be a copy with another name."""
    own = {"run": run.id} if row.get("control") == "given" else {}
    return row | own | {name: _ends(row.get(name)) for name in ("asked", "interval")}


def _ends(value: Any) -> list[float] | None:
    ends = [number(end) for end in value] if isinstance(value, list) else []
    known = [end for end in ends if end is not None]
    return known if len(known) == len(ends) == 3 else None


def _mean(value: Any) -> Mean | None:
    value = mapping(value)
    ends = _ends([value.get(name) for name in ("value", "low", "high")])
    return Mean(*ends) if ends else None


def result(sweep: Sweep) -> Controls:
    """Return what a sweep of controls says, as far as it is finished."""
    entries, state = sweep.entries(), str(sweep_.state(sweep)["state"])
    given = next((e for e in entries if e.role == "given"), None)
    kind = asked.kind_asked(Scores.read_once(given.run)) if given else ""
    rows = [
        {
            **row(entry),
            "control": entry.coordinates.get("control", ""),
            "asked": _interval(entry, kind) if kind else None,
            "interval": _interval(entry),
        }
        for entry in entries
    ]
    others = _draws(entries)
    if given is None or not _done(given) or not others:
        return _silent(rows, "", sweep, state)
    if _apart(given, others):
        return _silent(rows, APART, sweep, state)
    keys = _keys(given, others)
    said, next_word, missing = None, None, ""
    try:
        said = random_regions.said(*keys)
        next_word = random_regions.next_word(*keys)
    except UserError as error:  # data without val, or a damaged run
        missing = str(error)
    broken = _diverged(others)
    called = random_regions.called(given.run)
    parts = [random_regions.sentence(called, len(others), broken, said, next_word), missing]
    over = random_regions.over_draws(*keys) if said or next_word else None
    decided, there = "", None
    if over and _decide(given, others):
        parts.append(over.words)
        there = random_regions.over_draws(*keys, asked.OTHER) if kind and kind != asked.OTHER else None
        if there and (counted := random_regions.said(*keys, asked.OTHER)):
            parts += [counted.words, there.words]
        decided = equivalence.verdict([over.mean.value, *_other_teachings(sweep)])
        parts.append(decided)
    mean, p = (over.mean, over.p) if over else (None, None)
    told, one_more = " ".join(filter(None, parts)), said.difference if said else None
    led, (elsewhere, chance) = kind if said else "", (there.mean, there.p) if there else (None, None)
    return Controls(rows, told, one_more, next_word, mean, p, decided, sweep.id, state, elsewhere, chance, led)


def _random(control: object) -> bool:
    return str(control or "").startswith("random")


def _silent(rows: list[dict[str, Any]], why: str, sweep: Sweep, state: str) -> Controls:
    return Controls(rows, why, None, None, None, None, "", sweep.id, state)


def _draws(entries: Sequence[Entry]) -> list[Entry]:
    """Return the finished random regions."""
    return [entry for entry in entries if _random(entry.coordinates.get("control")) and _done(entry)]


def _keys(given: Entry, draws: Sequence[Entry]) -> tuple[Key, tuple[Key, ...]]:
    return key(given.run), tuple(key(draw.run) for draw in draws)


def _other_teachings(sweep: Sweep) -> list[float]:
    """Return the mean advantage of runs that differ in nothing but the seed, of those whose controls are done or kept."""
    own = _alike(next(entry.run for entry in sweep.entries() if entry.role == "given"))
    values, seeds = [], {own[1]}
    for given, value in _others(sweep):
        settings, seed = _alike(given)
        if settings == own[0] and seed not in seeds:
            seeds.add(seed)
            values.append(value)
    return values


def _others(sweep: Sweep) -> Iterator[tuple[Run, float]]:
    """Yield other runs that have controls, with their mean advantage: first of what can be computed, then what is kept."""
    for other in sweep_.list_sweeps(sweep.folder):
        if other.id == sweep.id or other.kind != "controls":
            continue
        entries = other.entries()
        given, draws = next((entry for entry in entries if entry.role == "given"), None), _draws(entries)
        if given is None or sweep_.state(other)["state"] != "done":
            continue
        if _decide(given, draws) and (over := random_regions.over_draws(*_keys(given, draws))):
            yield given.run, over.mean.value
    # Asked of the folder at once: at each look at a page, and of thousands of runs hardly any has controls.
    for path in sorted(sweep.folder.glob(f"[!.]*/{FILE}"), reverse=True):
        run = Run(path.parent)
        if not run.problem() and (outcome := kept(run)) and outcome.on_average and outcome.verdict:
            yield run, outcome.on_average.value


def _decide(given: Entry, draws: Sequence[Entry]) -> bool:
    """Say whether finished random regions show anything of a run: several, of its own taught model, none diverged."""
    return len(draws) > 1 and not _diverged(draws) and not _apart(given, draws)


def _diverged(entries: Sequence[Entry]) -> int:
    return sum(bool(row(entry)["diverged"]) for entry in entries)


def _apart(given: Entry, draws: Sequence[Entry]) -> bool:
    return len({taught for entry in (given, *draws) if (taught := _taught(entry))}) > 1


def _alike(run: Run) -> tuple[dict[str, Any], int]:
    """Return what two teachings of one thing have in common, and the seed, in which they differ."""
    # Of a retrained model nothing is compared here, and making one for each teaching would double the time.
    config = run.config().with_setting("teach.retrain", False)
    settings = {key: value for key, value in config.to_json().items() if key not in ("name", "preset")}
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
    for name in keys:
        node = node.get(name) if isinstance(node, dict) else None
    return node if isinstance(node, str) else ""


def _done(entry: Entry) -> bool:
    return entry.run.status().get("state") == "done"


def _interval(entry: Entry, kind: str = "") -> list[float] | None:
    mean = random_regions.average(key(entry.run), kind) if _done(entry) else None
    return None if mean is None else [mean.value, mean.low, mean.high]
