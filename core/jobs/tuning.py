"""The fair tuner: the same number of trials and the same time for every method, chosen on dev, never on val.

A trial is an ordinary run with part of train held out as dev, asked and scored on dev alone. The first of each method has
its defaults; the others lie on one seeded, evenly spread sequence. Within a trial the step that becomes the result is chosen
by next-word accuracy on dev, since asking at every step would cost more than unlearning; between trials what they say
decides, unless another objective is named. Reads and writes files only; no torch.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.config.run_config import RunConfig
from core.data.corpus import SCOPES
from core.jobs.sweep import Entry, Member, Sweep
from core.runs import asked
from core.runs.asked import Outcomes
from core.runs.scores import Scores
from core.util.errors import UserError

CHECKS = 6
"""measurements on dev during a trial's unlearning, each of which may become the result"""
AROUND = 4.0
"""the learning rate is searched from a quarter of its default to four times as much"""
FLOOR = 85.0
"""percent of retention success on dev below which a trial does not qualify by its never-knew score"""
OBJECTIVES = {
    "asked": f"what they say: {asked.BALANCE}",
    "average": "the mean of Unlearn and Retention Success (next-word accuracy)",
    "never-knew": "the never-knew score times the share of answers that are no gibberish",
}
"""what trials are sorted by -> what that is; the first one is the default"""


@dataclass(frozen=True)
class Range:
    """Where one setting is looked for."""

    path: str
    """as in --set"""
    low: float
    high: float
    scale: str
    """log or linear"""
    whole: bool = False
    """the setting counts something"""

    def at(self, share: float) -> float | int:
        """Return the value at 0 ≤ share < 1, rounded to three digits."""
        if self.scale == "log":  # each factor of two gets as many trials
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + (self.high - self.low) * share
        return round(value) if self.whole else float(f"{value:.3g}")


def space(config: RunConfig) -> list[Range]:
    """Return what is tuned: the learning rate, and the settings of the method that name a range to `setting(tune=…)`.

    A loss of one term names no weight: AdamW's steps are as long whatever its size.
    """
    rate, method = config.unlearn.learning_rate, config.unlearn.method
    ranges = [Range("unlearn.learning_rate", rate / AROUND, min(1.0, rate * AROUND), "log")]
    for field in dataclasses.fields(method):
        if field.metadata.get("tune"):
            low, high, scale = field.metadata["tune"]
            whole = isinstance(getattr(method, field.name), int)
            ranges.append(Range(f"unlearn.{field.name}", low, high, scale, whole))
    return ranges


def points(dimensions: int, count: int, seed: int) -> list[tuple[float, ...]]:
    """Return `count` points of the unit cube, evenly spread whatever their number: the additive recurrence R_d.

    point_k = (shift + k·α) mod 1, α_j = φ^−j, φ the positive root of x^(d+1) = x + 1 (M. Roberts, 2018); shift is drawn with
    the seed. In one dimension φ is the golden ratio.
    """
    phi = 1.5
    for _ in range(60):
        phi = (1 + phi) ** (1 / (dimensions + 1))
    source = random.Random(seed)
    shift = [source.random() for _ in range(dimensions)]
    return [tuple((shift[j] + k * phi ** -(j + 1)) % 1 for j in range(dimensions)) for k in range(1, count + 1)]


def trials(config: RunConfig, count: int, seed: int) -> list[dict[str, float | int]]:
    """Return the settings of each trial, the first without any: it has the method's defaults."""
    ranges = space(config)
    places = points(len(ranges), count - 1, seed)
    return [{}, *({r.path: r.at(x) for r, x in zip(ranges, point, strict=True)} for point in places)]


def members(configs: Sequence[tuple[RunConfig, Mapping[str, Any]]], count: int, dev_share: float) -> list[Member]:
    """Return the trials of all pairs, in rounds: wherever the sweep is stopped, all have had as many (± 1)."""
    pairs = []
    for base, coordinates in configs:
        config = base.with_setting("data.dev_share", dev_share).with_setting("evaluate.splits", ("dev",))
        config = config.with_setting("unlearn.watch", 0).with_setting("evaluate.extras", False)
        config = config.with_setting("unlearn.check_every", max(1, -(-config.unlearn.steps // CHECKS)))
        own = []
        for number, changes in enumerate(trials(config, count, config.seed)):
            trial = config
            for path, value in changes.items():
                trial = trial.with_setting(path, value)
            own.append(Member(trial, {**coordinates, "trial": number}, "trial"))
        pairs.append(own)
    return [member for turn in zip(*pairs, strict=True) for member in turn]


def pair(coordinates: Mapping[str, Any]) -> str:
    """Return the name of the method and region (and whatever else is compared) that a trial belongs to."""
    return ", ".join(str(value) for key, value in coordinates.items() if key != "trial")


@dataclass(frozen=True)
class Trial:
    """A trial with its scores on dev; None where they were not measured."""

    entry: Entry
    state: str
    error: str
    settings: Mapping[str, Any]
    """what was tuned"""
    steps: int | None
    """steps allowed"""
    kept: int | None
    """the step whose checkpoint is the result"""
    seconds: float | None
    """of unlearning"""
    unlearn: float | None
    """Unlearn Success, percent"""
    retention: float | None
    """Retention Success, percent"""
    knew: float | None
    """never-knew score"""
    degenerate: float | None
    """percent of the answers to U"""
    forget: Outcomes | None = None
    """what it says of U"""
    keep: Outcomes | None = None
    """what it says of R"""

    @property
    def balance(self) -> float | None:
        """What it says, as one number: `core.runs.asked.balance`."""
        if self.forget is None or self.keep is None:
            return None
        return asked.balance(self.forget.percent("leaked"), self.forget.percent("noise"), self.keep.percent("kept"))

    @property
    def average(self) -> float | None:
        """The paper's measure: mean of both successes."""
        return None if self.unlearn is None or self.retention is None else (self.unlearn + self.retention) / 2

    @property
    def fluent(self) -> float | None:
        """Never-knew score times the share of answers that are not gibberish, which makes none below zero better."""
        return None if self.knew is None else min(self.knew, self.knew * (1 - (self.degenerate or 0.0) / 100))

    @property
    def qualifies(self) -> bool:
        """Whether enough is retained for the never-knew score to count."""
        return self.retention is not None and self.retention >= FLOOR

    def rank(self, objective: str) -> tuple[float, float]:
        """Return what trials are sorted by, larger is better; unmeasured ones come last."""
        average = -math.inf if self.average is None else self.average
        if objective == "asked":  # of few questions many trials answer as many
            return -math.inf if self.balance is None else self.balance, average
        if objective == "average":
            return 1.0, average
        return float(self.qualifies), -math.inf if self.fluent is None else self.fluent


def read(sweep: Sweep) -> list[Trial]:
    """Return a tuning sweep's trials with their scores, in the order of execution."""
    return [_trial(entry) for entry in sweep.entries()]


def _trial(entry: Entry) -> Trial:
    run, status = entry.run, entry.run.status()
    measured, unlearned = Scores.read_once(run), run.json("unlearn.json") or {}
    try:
        config = run.config()
    except UserError as error:  # deleted, or damaged
        return Trial(entry, "unreadable", str(error), {}, None, None, None, None, None, None, None)
    settings = {r.path.removeprefix("unlearn."): _of(config, r.path) for r in space(config)}
    return Trial(
        entry,
        str(status.get("state")),
        str(status.get("error", "")),
        settings,
        config.unlearn.steps,
        unlearned.get("step"),
        unlearned.get("seconds"),
        measured.success("after", "unlearn", "dev").value,
        measured.success("after", "retention", "dev").value,
        measured.value("never_knew", "after", "dev").value,
        measured.value("degenerate", "after", "unlearn/dev").value,
        *(asked.outcomes(measured, "after", scope, "dev") for scope in SCOPES),
    )


def _of(config: RunConfig, path: str) -> Any:
    name = path.removeprefix("unlearn.")
    return config.unlearn.learning_rate if name == "learning_rate" else getattr(config.unlearn.method, name)


def winners(candidates: Sequence[Trial], objective: str) -> list[Trial]:
    """Return the best trial of each pair that has a score, best first."""
    best: dict[str, Trial] = {}
    for trial in candidates:
        name = pair(trial.entry.coordinates)
        scored = all(map(math.isfinite, trial.rank(objective)))
        if scored and (name not in best or trial.rank(objective) > best[name].rank(objective)):
            best[name] = trial
    return sorted(best.values(), key=lambda trial: trial.rank(objective), reverse=True)


def refit(trial: Trial, seeds: Sequence[int]) -> list[Member]:
    """Return runs with a trial's settings that learn from all of train and are scored on val, once, for each seed.

    dev has said how many steps are best, so the runs make exactly these. Where the rate depends on how many there are, fewer
    steps would be another schedule: then all are made, and the checkpoint of the best one is the result.
    """
    config = trial.entry.run.config()
    kept_step = trial.kept or config.unlearn.steps
    how: tuple[tuple[str, Any], ...] = (("unlearn.steps", kept_step),)
    rising = math.ceil(config.unlearn.warmup * config.unlearn.steps)
    if kept_step < config.unlearn.steps and (config.unlearn.schedule != "constant" or rising > kept_step / 2):
        how = (("unlearn.result_step", kept_step), ("unlearn.picked_on", "dev"))
    elif rising != math.ceil(config.unlearn.warmup * kept_step):
        how += (("unlearn.warmup", (rising - 0.5) / kept_step),)  # a share, rounded up to steps: as many as dev has seen
    for path, value in (
        ("data.dev_share", 0.0),
        ("evaluate.splits", ()),
        ("unlearn.stop", "never"),
        ("unlearn.retain_floor", 0.0),
        *how,
    ):
        config = config.with_setting(path, value)
    kept = {key: value for key, value in trial.entry.coordinates.items() if key != "seed"}
    return [Member(config.with_setting("seed", seed), {**kept, "seed": seed}, "refit") for seed in seeds]
