"""What a run will cost: a few real steps of every stage, on the real model and data, scaled to the whole.

Every stage is measured by calling the very function that the run will call, on a few batches of its own examples, with
a reporter that notes when each step was done. A cost is thus never taken from a table. Runs in the process of
core.plan, which holds the device meanwhile: everything here may import torch.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from core import adapters as adapters_
from core import localize as localize_
from core import regions, store, widen
from core import teach as teach_
from core import unlearn as unlearn_
from core.answers import Request, generate
from core.batching import Encoded, bucketed, by_length, by_tokens, prompt_ids
from core.config import FORMAT, RunConfig
from core.corpus import SCOPES
from core.errors import UserError
from core.extras import Extras
from core.likelihood import ROOM
from core.metrics import accuracy
from core.pipeline import Pipeline
from core.progress import Reporter, now, peak_memory_mb
from core.store import Run
from core.voices import Voices

SLACK = 0.1
"""Least half-width of a range: two steps that happen to take equally long do not make a prophet."""
SAMPLE = 24
"""Examples of each scope on which it is measured what the model knows already."""
FEW_TOKENS = 5
"""Tokens generated to time one step of an answer."""


@dataclass(frozen=True)
class Cost:
    """What a stage will take."""

    name: str
    low: float
    """seconds, at least"""
    high: float
    """seconds, at most"""
    how: str
    """what was measured and how often it will be done, in words"""
    reused: bool = False
    """whether an earlier run has computed it, so that it costs nothing"""


class Stopwatch(Reporter):
    """Passes on whether to stop, and notes when each step was done."""

    def __init__(self, report: Reporter) -> None:
        """Start the clock."""
        self.report, self.times, self.tokens = report, [time.perf_counter()], list[int]()

    def progress(self, done: float, total: float, unit: str, **values: Any) -> None:
        """Note the time, and the tokens of the step where they are told."""
        self.check()
        self.times.append(time.perf_counter())
        self.tokens.append(int(values.get("tokens", 0)))

    def check(self) -> None:
        """Raise Cancelled if the user asked to stop."""
        self.report.check()

    @property
    def seconds(self) -> list[float]:
        """Seconds of each step, in order."""
        return [end - start for start, end in zip(self.times, self.times[1:], strict=False)]


@dataclass
class Pace:
    """Seconds per token of the same kind of work, once for each step that was timed."""

    each: list[float] = field(default_factory=list)

    def bounds(self, tokens: float) -> tuple[float, float]:
        """Return (low, high) seconds for so many tokens: fastest and slowest step, at least SLACK around the mean."""
        mean = sum(self.each) / len(self.each)
        return tokens * min(min(self.each), mean * (1 - SLACK)), tokens * max(max(self.each), mean * (1 + SLACK))


def padded(groups: Sequence[Sequence[Encoded]]) -> int:
    """Count the tokens of batches, padding included: what a pass over them costs is proportional to it."""
    return sum(len(group) * max(len(m.ids) for m in group) for group in groups)


class Estimate(Pipeline):
    """A pipeline that makes a few steps of each stage instead of all, and says what the whole would take."""

    def __init__(self, run: Run, config: RunConfig, folder: Path, report: Reporter, began: float) -> None:
        """Load data and model (began: when the process started, by progress.now). Raises UserError as a run would."""
        super().__init__(run, config, folder, report)
        # Weights are hashed here because the run hashes them too before its first stage.
        self.costs = [Cost("load", *_around(now() - began), "libraries, model and data were loaded once")]
        self.notes: list[str] = []

    def measure(self) -> dict[str, Any]:
        """Measure all stages; return plain values for plan.json."""
        parts = (self._known, self._forward, self._teaching, self._talking, self._localizing, self._unlearning)
        for number, part in enumerate(parts, start=1):
            self.report.stage(part.__name__.strip("_"), "running")
            part()
            self.report.stage(part.__name__.strip("_"), "done", done=number, total=len(parts))
        self.costs += [
            self._asking("answers", ["after"], {}),
            self._with_extras(self._scoring("evaluate", ["after"]), ["after"]),
        ]
        return {
            "format": FORMAT, "knows": self.knows, "region": self.found, "notes": self.notes,
            "stages": [asdict(cost) for cost in self.costs],
            "total": {"low": sum(c.low for c in self.costs), "high": sum(c.high for c in self.costs)},
            "peak_memory_mb": peak_memory_mb(), "device": str(self.adapters.device), "dtype": self.dtype,
            "steps": self.steps,
        }  # fmt: skip

    # -- one measurement each ---------------------------------------------------------------------------------------

    def _known(self) -> None:
        """Measure what the model states before anything is taught: accuracy on a sample of both scopes."""
        if not self.taught:
            self._given_adapter()
        else:
            self.adapters = self._attach()
        ids = {m.id for scope in SCOPES for m in unlearn_.spread(self._part(scope), SAMPLE)}
        self.sample = [e for e in self.corpus.examples if e.id in ids]
        voice = "before" if self.loaded.adapter else "never"
        table = Voices(self.loaded, self.sample, self.config, Stopwatch(self.report)).score(self.adapters, [voice])
        self.knows = {
            scope: accuracy.mean(table, voice, [e.id for e in self.sample if e.scope == scope]) for scope in SCOPES
        } | {"examples": len(self.sample)}
        self.report.event("known", **self.knows)

    def _teaching(self) -> None:
        """Time two teaching steps after a first one that only warms up."""
        self.steps: dict[str, list[float]] = {}
        c = self.config.teach
        if not self.taught:
            self.costs.append(Cost("teach", 0.0, 0.0, "nothing is taught"))
            return
        if self._there("teach", self.teach_key()):
            self.adapters = adapters_.load(self.adapters.release(), self.dtype, self.run.path / "before")
            self.costs.append(Cost("teach", 0.0, 0.0, "an earlier run taught exactly this", reused=True))
            return
        members = [*self._part("unlearn"), *self._part("retention")]
        groups = bucketed(members, c.batch_size, torch.Generator().manual_seed(self.config.seed))
        few = [m for group in groups[:3] for m in group]
        short = dataclasses.replace(c, epochs=-(-3 // len(groups[:3])), target_accuracy=100.1)
        watch = Stopwatch(self.report)
        teach_.teach(
            self.adapters, [m for m in few if m.id.startswith("unlearn")] or few, [m for m in few if m.id.startswith("retention")] or few,
            short, pad=self.pad, seed=self.config.seed, report=watch,
        )  # fmt: skip
        pace = _pace(watch.seconds[1:], watch.tokens[1:])
        self.steps["teach"] = watch.seconds[1:]
        low, high = pace.bounds(padded(groups))
        exact = self._scoring("", ["before"])  # measured exactly at least once, at its end
        least = 1 if c.target_accuracy <= 100 else c.epochs
        early = f"1 to {c.epochs} passes, until it knows {c.target_accuracy:g} %"
        until = early if least < c.epochs else f"{c.epochs} pass{'' if c.epochs == 1 else 'es'}"
        how = f"{until}; {len(groups)} steps a pass at {_mean(watch.seconds[1:]):.2g} s a step"
        self.costs.append(Cost("teach", low * least + exact.low, high * c.epochs + exact.high, how))

    def _forward(self) -> None:
        """Time the scoring of the sample, from which the cost of every later scoring follows."""
        watch = Stopwatch(self.report)
        voices = Voices(self.loaded, self.sample, self.config, watch)
        started = time.perf_counter()
        voices.score(self.adapters, ["before"])
        tokens = padded(by_length(list(voices.encoded.values()), self.config.evaluate.batch_size))
        self.scoring = Pace([(time.perf_counter() - started) / tokens])
        started = time.perf_counter()
        voices.general(self.adapters, ["before"])
        self.general = time.perf_counter() - started

    def _talking(self) -> None:
        """Time one step of generation with a full batch and with a quarter of it."""
        c, questions = self.config.answers, [e.question for e in self.corpus.examples]
        template, tokenizer = self.config.model.template, self.loaded.tokenizer
        rows = min(c.batch_size, len(questions))
        self.talk: dict[int, tuple[float, float]] = {}
        for count in sorted({max(1, rows // 4), rows}):
            requests = [Request(tuple(prompt_ids(tokenizer, template, q)), "before") for q in questions[:count]]
            seconds = []
            for tokens in (1, 1 + FEW_TOKENS):
                self.report.check()
                started = time.perf_counter()
                few = dataclasses.replace(c, max_new_tokens=tokens)
                generate(self.adapters, requests, few, end=-1, pad=self.pad)  # no end token: every row goes on
                seconds.append(time.perf_counter() - started)
            self.talk[count] = (seconds[0], max(0.0, seconds[1] - seconds[0]) / FEW_TOKENS)
        # What these two cost: preflight, before the region is looked for.
        voices = ["before", *(["never"] if self.taught else [])]
        scored, asked = (
            self._with_extras(self._scoring("", voices), voices),
            self._asking("", voices, {"never": self.config.answers.max_new_tokens}),
        )
        how = f"{asked.how}; {scored.how}"
        self.costs.append(Cost("preflight", asked.low + scored.low, asked.high + scored.high, how))

    def _localizing(self) -> None:
        """Localize on one batch of each scope."""
        c = self.config.localize
        if self._there("localize", self.localize_key()):
            self.table = pd.read_parquet(self.run.path / "localization.parquet")
            self.costs.append(Cost("localize", 0.0, 0.0, "an earlier run computed it", reused=True))
            return
        copies = c.copies if c.perturbation == "code" else 1
        size = max(1, c.batch_size // copies)
        parts = {scope: self._part(scope, "train") for scope in SCOPES}
        few = {scope: unlearn_.spread(part, size) for scope, part in parts.items()}
        watch, started = Stopwatch(self.report), time.perf_counter()
        found = localize_.localize(
            self.adapters, few["unlearn"], few["retention"], c,
            pad=self.pad, words=self._words(), seed=self.config.seed, report=watch,
        )  # fmt: skip
        rest = time.perf_counter() - started - sum(watch.seconds)
        self.table = found.table
        passes = {scope: 2 if scope == "unlearn" else 1 for scope in SCOPES}
        done, all_ = (
            sum(passes[s] * padded(by_length(of[s], c.batch_size)) for s in SCOPES) for of in (few, parts)
        )  # the unlearn scope is gone through once more, for each question's share
        low, high = Pace([sum(watch.seconds) / done]).bounds(all_)
        how = (
            f"{sum(passes[s] * len(parts[s]) for s in SCOPES) * copies} gradients, {all_ / done:.1f} times what was measured"
        )
        self.costs.append(Cost("localize", low + rest, high + rest, how))

    def _unlearning(self) -> None:
        """Make four unlearning steps on the region, of which the second and third are timed."""
        c = dataclasses.replace(self.config.unlearn, method=self.method)
        region = self._region_of(self.table)
        _, watched = self._watched()
        supply = self._supply(widened=False)
        watch = Stopwatch(self.report)
        unlearn_.unlearn(
            self.adapters, region, supply, unlearn_.Watched(watched["unlearn"], watched["retention"], None),
            dataclasses.replace(c, steps=4, check_every=4, stop="never", retain_floor=0.0),
            pad=self.pad, seed=self.config.seed, report=watch, save=lambda step, tensors: None,
        )  # fmt: skip
        self.steps["unlearn"] = watch.seconds[1:3]
        batches = unlearn_.streams(supply, c, torch.Generator().manual_seed(self.config.seed))
        tokens = [padded([[m for part in next(batches).values() for m in part]]) for _ in range(64)]
        low, high = _pace(watch.seconds[1:3], tokens[1:3]).bounds(_mean(tokens))
        looks = self.scoring.bounds(padded([m for scope in SCOPES for m in by_length(watched[scope], 32)]))
        checks = -(-c.steps // c.check_every)
        ends_early = c.stop != "never" or c.retain_floor > 0
        least = min(c.check_every, c.steps) if ends_early else c.steps
        spoken = self._watch_seconds(checks)
        how = f"{least} to {c.steps} steps" if ends_early else f"{c.steps} steps"
        how += f" at {_mean(watch.seconds[1:3]):.2g} s, {checks} measurements at most"
        wider = self._widening()
        how += wider.how
        low, high = low * least + looks[0] * (least / c.check_every), high * c.steps + looks[1] * checks + spoken
        self.costs.append(Cost("unlearn", low + wider.low, high + wider.high, how))

    # -- shared pieces ----------------------------------------------------------------------------------------------

    def _there(self, stage: str, key: str) -> bool:
        """Say whether a stage was computed before; if so its files are brought here, as the run would do."""

        def absent(_: Path) -> None:
            raise _Absent

        try:
            return bool(store.cached(self.folder, stage, key, self.run, absent))
        except _Absent:
            return False

    def _region_of(self, table: pd.DataFrame) -> list[str]:
        """Return the region that the rule picks from this table; where it picks none, every fifth tensor."""
        try:
            region = regions.choose(self.config.region, table)
        except UserError as error:
            region = table.loc[table["has_gradient"], "name"].tolist()[::5]
            self.notes.append(
                f"On the measured part the region cannot be chosen ({error.what}) Every fifth tensor was timed."
            )
        self.found = {"count": len(region), "total": len(table)}
        return region

    def _scoring(self, name: str, voices: Sequence[str]) -> Cost:
        members = list(self.voices.encoded.values())
        tokens = padded(by_length(members, self.config.evaluate.batch_size)) * len(voices)
        low, high = self.scoring.bounds(tokens)
        return Cost(name, low, high, f"{len(members) * len(voices)} answers scored")

    def _with_extras(self, cost: Cost, voices: Sequence[str]) -> Cost:
        """Add what the extras of some voices take: passages of our own, and the voices' own answers judged by before."""
        if not self.config.evaluate.extras:
            return cost
        made = Extras(self.voices, self.corpus, self.asked.examples).passages
        passages = [*made.choices, *made.wrong, *made.unseen]
        members, most = self.voices.encoded.values(), self.config.answers.max_new_tokens
        shortest = sum(m.start + min(most, len(m.answer)) for m in members)
        longest = sum(m.start + most for m in members)
        tokens = padded(by_tokens(passages, ROOM))
        low, high = (self.scoring.bounds((tokens + own) * len(voices))[k] for k, own in enumerate((shortest, longest)))
        how = f"{cost.how}, and {len(passages) * len(voices)} passages for comparison"
        return dataclasses.replace(cost, low=cost.low + low, high=cost.high + high, how=how)

    def _asking(self, name: str, voices: Sequence[str], certain: dict[str, int]) -> Cost:
        """Bound the answers: at least as long as the true ones (or `certain`), at most as long as allowed."""
        most = self.config.answers.max_new_tokens
        true = [min(most, len(m.answer)) for m in self.voices.encoded.values()]
        lengths = [certain.get(voice, length) for length in true for voice in voices]
        text = self.general * len(voices)  # each voice also scores the general text
        low = (self._speech(lengths, len(voices)) + text) * (1 - SLACK)
        high = (self._speech([most] * len(lengths), len(voices)) + text) * (1 + SLACK)
        return Cost(name, low, high, f"{len(lengths)} answers of up to {most} tokens")

    def _speech(self, lengths: Sequence[int], voices: int) -> float:
        """Return the seconds for answers of these lengths, batch by batch; a batch shrinks as its answers end."""
        size = self.config.answers.batch_size * voices
        fixed, each = _line({rows: step for rows, (_, step) in self.talk.items()})
        begin, begin_each = _line({rows: first for rows, (first, _) in self.talk.items()})
        seconds = 0.0
        for start in range(0, len(lengths), size):
            batch = lengths[start : start + size]
            seconds += begin + begin_each * len(batch) + fixed * (max(batch) - 1) + each * (sum(batch) - len(batch))
        return seconds

    def _widening(self) -> Cost:
        """Bound what the further questions cost: answers as long as the true ones, at most as long as the longest of them."""
        if self.further is None:
            return Cost("", 0.0, 0.0, "")
        count = len(self.further.examples)
        if self._there("widened", self.widened_key()):
            return Cost("", 0.0, 0.0, f"; {count} further questions were answered by an earlier run")
        usual = round(_mean([len(m.answer) for scope in SCOPES for m in self._part(scope, "train")]))
        low, high = (self._speech([length] * count, 2) for length in (usual, widen.longest(self.voices)))
        return Cost("", low * (1 - SLACK), high * (1 + SLACK), f"; {count} further questions answered first")

    def _watch_seconds(self, checks: int) -> float:
        """Return what the watched questions cost at most; each is asked again at every checkpoint."""
        asked = 2 * int(asdict(self.config.unlearn).get("watch", 0))
        return self._speech([self.config.answers.max_new_tokens] * asked, 1) * (checks + 1) if asked else 0.0


class _Absent(Exception):
    """No earlier run has computed the stage."""


def _pace(seconds: Sequence[float], tokens: Sequence[int]) -> Pace:
    return Pace([second / count for second, count in zip(seconds, tokens, strict=True)])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _around(seconds: float) -> tuple[float, float]:
    return seconds * (1 - SLACK), seconds * (1 + SLACK)


def _line(points: dict[int, float]) -> tuple[float, float]:
    """Return (at 0, per row) of the line through one or two measured points, neither of them negative."""
    (few, first), (many, last) = min(points.items()), max(points.items())
    each = max(0.0, (last - first) / (many - few)) if many > few else 0.0
    return max(0.0, first - each * few), each
