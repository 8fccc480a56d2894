"""What a run will cost: a few real steps of every stage, on the real model and data, scaled to the whole.

Every stage is measured by calling the very function that the run will call, on a few batches of its own examples, with
a reporter that notes when each step was done. A cost is thus never taken from a table. Runs in the process of
core.jobs.estimate, which holds the device meanwhile: everything here may import torch.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Container, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any, NamedTuple

import pandas as pd
import torch

from core import regions
from core.config.run_config import FORMAT
from core.config.stages import TeachConfig
from core.data.corpus import SCOPES
from core.methods.base import Method
from core.metrics import accuracy
from core.models import kept_texts
from core.models.generate import Request, generate
from core.models.likelihood import BATCH, ROOM
from core.models.micro_batches import MicroBatches
from core.models.tokens import Encoded, bucketed, by_length, by_tokens, padded, prompt_ids
from core.pipeline import localize as localize_
from core.pipeline import model_before, retrained, unlearn, unlearn_loop, widened_answers
from core.pipeline import region as region_
from core.pipeline import teach as teach_
from core.pipeline.extras import Extras
from core.pipeline.pipeline import LOCALIZE, PREFLIGHT, TEACH, stages
from core.pipeline.retrained import REFERENCE, RETRAIN
from core.pipeline.stage import bring_made, perform
from core.pipeline.state import State
from core.pipeline.supply import Supply, besides, spread
from core.pipeline.voices import Voices
from core.pipeline.widened_answers import WIDENED
from core.plan.timing import SLACK, TIMED, Cost, Rate, Stopwatch, around, line, mean_tokens, rate
from core.runs.voices import VOICE
from core.util.errors import UserError
from core.util.progress import now, peak_memory_mb

SAMPLE = 24
"""Examples of each scope on which it is measured what the model knows already."""
FEW_TOKENS = 5
"""Tokens generated to time one step of an answer."""


BROUGHT = (TEACH, PREFLIGHT, LOCALIZE, WIDENED, RETRAIN, REFERENCE)
"""stages whose files an estimate brings from the cache, where they are there"""


class Lesson(NamedTuple):
    """What a few teaching steps took."""

    pace: Rate
    seconds: float
    """a step"""
    besides: float
    """tokens a step of texts on which the model is held to the base"""


class Estimate:
    """Makes a few steps of each stage instead of all, and says what the whole would take."""

    def __init__(self, state: State, began: float) -> None:
        """Begin with a run's state that no stage has worked on. began: when the process started, by progress.now."""
        self.state, self.config, self.report = state, state.config, state.report
        self.voices, self.further, self.method = state.voices, state.further, state.method
        self.costs = [Cost("load", *around(now() - began), "libraries, model and data were loaded once")]
        self.notes: list[str] = []
        self.steps: dict[str, list[float]] = {}
        self.lesson: Lesson | None = None

    def measure(self) -> dict[str, Any]:
        """Measure all stages; return plain values for plan.json."""
        taught = (self._known, self._forward, self._teaching)
        parts = (*taught, self._talking, self._localizing, self._unlearning, self._comparing)
        for number, part in enumerate(parts, start=1):
            self.report.stage(part.__name__.strip("_"), "running")
            part()
            self.report.stage(part.__name__.strip("_"), "done", done=number, total=len(parts))
        self.costs += [
            self._asking("answers", ["after"], self.state.asked, {}),
            self._with_extras(self._scoring("evaluate", ["after"], self.state.asked), ["after"], self.state.asked),
        ]
        return {
            "format": FORMAT,
            "knows": self.knows,
            "region": self.region,
            "notes": self.notes,
            "stages": [asdict(cost) for cost in self.costs],
            "total": {"low": sum(c.low for c in self.costs), "high": sum(c.high for c in self.costs)},
            "peak_memory_mb": peak_memory_mb(),
            "device": str(self.state.adapters.device),
            "dtype": self.state.dtype,
            "steps": self.steps,
        }

    # -- one measurement each ---------------------------------------------------------------------------------------

    def _known(self) -> None:
        """Measure what the model states before anything is taught: accuracy on a sample of both scopes."""
        first, self.earlier = stages(self.state)[0], ""
        if first is TEACH:
            self.state.adapters = self.state.cache.keep("", model_before.attach(self.state))
        else:
            self.earlier = perform(first, self.state)
        ids = {m.id for scope in SCOPES for m in spread(self.state.encoded(scope), SAMPLE)}
        self.sample = [e for e in self.state.corpus.examples if e.id in ids]
        voice = "before" if self.state.loaded.adapter or self.earlier else "never"
        table = Voices(self.state.loaded, self.sample, self.config, Stopwatch(self.report)).score(
            self.state.adapters, [voice]
        )
        self.knows = {
            scope: accuracy.mean(table, voice, [e.id for e in self.sample if e.scope == scope]) for scope in SCOPES
        } | {"examples": len(self.sample)}
        self.report.event("known", **self.knows)

    def _teaching(self) -> None:
        """Make adapter "before" what the run would begin with, but for most steps of teaching."""
        if self.earlier or not self.state.taught:
            how = f"nothing is taught: it goes on from {self.earlier}" if self.earlier else "nothing is taught"
            self.costs.append(Cost("teach", 0.0, 0.0, how))
            return
        if bring_made(TEACH, self.state):
            self.state.adapters = model_before.read_adapter(self.state, self.state.run.path / "before")
            self.costs.append(Cost("teach", 0.0, 0.0, "an earlier run taught exactly this", reused=True))
        else:
            self.costs.append(self._lessons("teach", "before"))
            if self.config.teach.merge:
                self.state.adapters.save("before", self.state.run.path / "before", self.config.model.name)
        if self.config.teach.merge:
            model_before.merge(self.state)

    def _lessons(self, name: str, adapter: str, without: Container[str] = ()) -> Cost:
        """Bound the lessons of an adapter on all that is taught but for some ids, at the pace of a few steps, timed once."""
        c = self.config.teach.course(self.state.whole.wordings(), len(self.state.whole.taught().examples))
        # Also the questions of those who are not to be forgotten this time: all are taught.
        taught = self.voices.encode([e for e in self.state.whole.taught().examples if e.id not in without])
        groups = bucketed(taught, c.batch_size, torch.Generator().manual_seed(self.config.seed))
        if self.lesson is None:
            self.lesson = self._few_lessons(adapter, groups[:3], c)
        pace, step, besides = self.lesson
        low, high = pace.bounds(padded(groups) + len(groups) * besides)
        exact = self.scoring.bounds(padded(by_length(taught, BATCH)))  # measured exactly at least once, at its end
        least = 1 if c.target_accuracy <= 100 else c.epochs
        early = f"1 to {c.epochs} passes, until it knows {c.target_accuracy:g} %"
        until = early if least < c.epochs else f"{c.epochs} pass{'' if c.epochs == 1 else 'es'}"
        how = f"{until}; {len(groups)} steps a pass at {step:.2g} s a step"
        return Cost(name, low * least + exact[0], high * c.epochs + exact[1], how)

    def _few_lessons(self, adapter: str, groups: Sequence[Sequence[Encoded]], course: TeachConfig) -> Lesson:
        """Time two teaching steps after a first one that only warms up."""
        # The base's own answers are as short as these lines, or shorter, and need not be made for an estimate.
        kept = kept_texts.general(self.state.loaded.tokenizer, self.voices.room) if course.keep_weight else []
        few = [m for group in groups for m in group]
        short = dataclasses.replace(course, epochs=-(-3 // len(groups)), target_accuracy=100.1)
        watch = Stopwatch(self.report)
        teach_.teach(
            self.state.adapters,
            few,
            [],
            [],
            kept[: short.keep_batch_size * 4],
            None,
            short,
            seed=self.config.seed,
            report=watch,
            adapter=adapter,
            micro=self._micro(),
        )
        self.steps["teach"] = watch.seconds[1:]
        besides = fmean(watch.tokens) - short.epochs * padded(groups) / len(watch.tokens)
        return Lesson(rate(watch.seconds[1:], watch.tokens[1:]), fmean(watch.seconds[1:]), besides)

    def _forward(self) -> None:
        """Time the scoring of the sample, from which the cost of every later scoring follows."""
        watch = Stopwatch(self.report)
        voices = Voices(self.state.loaded, self.sample, self.config, watch)
        started = time.perf_counter()
        voices.score(self.state.adapters, ["before"])
        tokens = padded(by_length(list(voices.encoded.values()), self.config.evaluate.batch_size))
        self.scoring = Rate([(time.perf_counter() - started) / tokens])
        started = time.perf_counter()
        voices.general(self.state.adapters, ["before"])
        self.general = time.perf_counter() - started

    def _talking(self) -> None:
        """Time one step of generation with a full batch and with a quarter of it."""
        c, questions = self.config.answers, [e.question for e in self.state.corpus.examples]
        template, tokenizer = self.config.model.template, self.state.loaded.tokenizer
        rows = min(c.batch_size, len(questions))
        self.talk: dict[int, tuple[float, float]] = {}
        for count in sorted({max(1, rows // 4), rows}):
            requests = [Request(tuple(prompt_ids(tokenizer, template, q)), "before") for q in questions[:count]]
            seconds = []
            for tokens in (1, 1 + FEW_TOKENS):
                self.report.check()
                started = time.perf_counter()
                few = dataclasses.replace(c, max_new_tokens=tokens)
                generate(self.state.adapters, requests, few, ends=(), pad=self.voices.pad)  # no end token: every row goes on
                seconds.append(time.perf_counter() - started)
            self.talk[count] = (seconds[0], max(0.0, seconds[1] - seconds[0]) / FEW_TOKENS)
        # What these two cost: preflight, before the region is looked for.
        if bring_made(PREFLIGHT, self.state):
            self.costs.append(Cost("preflight", 0.0, 0.0, "an earlier run asked it", reused=True))
            return
        voices = ["before", *(["never"] if self.state.has_never else [])]
        scored, asked = (
            self._with_extras(self._scoring("", voices, self.state.spoken), voices, self.state.spoken),
            self._asking("", voices, self.state.spoken, {"never": self.config.answers.max_new_tokens}),
        )
        how = f"{asked.how}; {scored.how}"
        self.costs.append(Cost("preflight", asked.low + scored.low, asked.high + scored.high, how))

    def _localizing(self) -> None:
        """Localize on one batch of each scope."""
        c = self.config.localize
        if bring_made(LOCALIZE, self.state):
            self.table = pd.read_parquet(self.state.run.path / "localization.parquet")
            self.costs.append(Cost("localize", 0.0, 0.0, "an earlier run computed it", reused=True))
            return
        copies = c.copies if c.perturbation == "code" else 1
        size = max(1, c.batch_size // copies)
        among = self.state.corpus.sample(c.most)
        parts = {scope: self.voices.known(among.select(scope, c.splits)) for scope in SCOPES}
        few = {scope: spread(part, size) for scope, part in parts.items()}
        watch, started = Stopwatch(self.report), time.perf_counter()
        localized = localize_.localize(
            self.state.adapters,
            few["unlearn"],
            few["retention"],
            c,
            held={},  # their questions alone, once forward: next to nothing beside the gradients
            words=self.state.words(),
            facts=region_.facts(self.state, among) if c.scores else None,
            seed=self.config.seed,
            report=watch,
            micro=self._micro(),
        )
        rest = time.perf_counter() - started - sum(watch.seconds)
        self.table = localized.table
        passes = {scope: 2 if scope == "unlearn" else 1 for scope in SCOPES}
        done, all_ = (
            sum(passes[s] * padded(by_length(batches[s], c.batch_size)) for s in SCOPES) for batches in (few, parts)
        )  # the unlearn scope is gone through once more, for each question's share
        low, high = Rate([sum(watch.seconds) / done]).bounds(all_)
        how = (
            f"{sum(passes[s] * len(parts[s]) for s in SCOPES) * copies} gradients, {all_ / done:.1f} times what was measured"
        )
        self.costs.append(Cost("localize", low + rest, high + rest, how))

    def _unlearning(self) -> None:
        """Make a few unlearning steps on the region and time those between the first and the last."""
        c = dataclasses.replace(self.config.unlearn, method=self.method)
        region = self._region_of(self.table)
        watched, supply = unlearn.watched_sample(self.state), unlearn.supply(self.state, further=None)
        c = c.course(len(supply.forget), len(besides(supply, c)))
        watch = Stopwatch(self.report)
        unlearn_loop.unlearn(
            self.state.adapters,
            region,
            supply,
            unlearn_loop.Watched(watched["unlearn"], watched["retention"], None),
            dataclasses.replace(c, epochs=0, steps=TIMED + 2, check_every=TIMED + 2, stop="never", retain_floor=0.0),
            unlearn_loop.Callbacks(watch, lambda step, tensors: None),
            seed=self.config.seed,
            micro=self._micro(),
        )
        timed = watch.seconds[1 : TIMED + 1]
        self.steps["unlearn"] = timed
        low, high = rate(timed, watch.tokens[1 : TIMED + 1]).bounds(mean_tokens(supply, c, self.config.seed))
        looks = self.scoring.bounds(padded([m for scope in SCOPES for m in by_length(watched[scope], BATCH)]))
        checks = -(-c.steps // c.check_every)
        ends_early = c.stop != "never" or c.retain_floor > 0
        least = min(c.check_every, c.steps) if ends_early else c.steps
        spoken = self._watch_seconds(checks)
        how = f"{least} to {c.steps} steps" if ends_early else f"{c.steps} steps"
        how += f" at {fmean(timed):.2g} s, {checks} measurements at most"
        ahead = around(self._preparing(watch.seconds[0] - fmean(timed), supply))
        wider = self._widening()
        low = low * least + looks[0] * (least / c.check_every) + ahead[0] + wider.low
        high = high * c.steps + looks[1] * checks + spoken + ahead[1] + wider.high
        self.costs.append(Cost("unlearn", low, high, how + wider.how))

    def _comparing(self) -> None:
        """Time the lessons of the model that never saw U, unless it was made, and work out what its answers take."""
        if not {RETRAIN, REFERENCE} <= set(stages(self.state)):
            return
        retrained.with_fresh(self.state)
        if bring_made(RETRAIN, self.state):
            RETRAIN.take(self.state, "")
            self.costs.append(Cost("retrain", 0.0, 0.0, "an earlier run taught exactly this", reused=True))
            if bring_made(REFERENCE, self.state):
                self.costs.append(Cost("reference", 0.0, 0.0, "an earlier run asked it", reused=True))
                return
        else:
            cost = self._lessons("retrain", VOICE, {e.id for e in self.state.corpus.select("unlearn")})
            self.costs.append(dataclasses.replace(cost, how=f"{cost.how}, without what is to be forgotten"))
        scored = self._with_extras(self._scoring("", [VOICE], self.state.spoken), [VOICE], self.state.spoken)
        asked = self._asking("", [VOICE], self.state.spoken, {})
        how = f"{asked.how}; {scored.how}"
        self.costs.append(Cost("reference", asked.low + scored.low, asked.high + scored.high, how))

    def _micro(self) -> MicroBatches:
        return MicroBatches.of(self.config.model, self.report)

    # -- shared pieces ----------------------------------------------------------------------------------------------

    def _region_of(self, table: pd.DataFrame) -> list[str]:
        """Return the region that the rule picks from this table; where it picks none, every fifth tensor."""
        try:
            region = regions.choose(self.config.region, table)
        except UserError as error:
            region = table.loc[table["has_gradient"], "name"].tolist()[::5]
            self.notes.append(
                f"On the measured part the region cannot be chosen ({error.what}) Every fifth tensor was timed."
            )
        self.region = {"count": len(region), "total": len(table)}
        return region

    def _scoring(self, name: str, voices: Sequence[str], asked: Voices) -> Cost:
        members = list(asked.encoded.values())
        tokens = padded(by_length(members, self.config.evaluate.batch_size)) * len(voices)
        low, high = self.scoring.bounds(tokens)
        return Cost(name, low, high, f"{len(members) * len(voices)} answers scored")

    def _with_extras(self, cost: Cost, voices: Sequence[str], asked: Voices) -> Cost:
        """Add what the extras of some voices take: passages of our own, and the voices' own answers judged by before."""
        if not self.config.evaluate.extras:
            return cost
        extra = Extras(self.voices, self.state.corpus, asked.examples).passages
        passages = [*extra.choices, *extra.wrong, *extra.unseen]
        members, most = asked.encoded.values(), self.config.answers.max_new_tokens
        shortest = sum(m.start + min(most, len(m.answer)) for m in members)
        longest = sum(m.start + most for m in members)
        tokens = padded(by_tokens(passages, ROOM))
        low, high = (self.scoring.bounds((tokens + own) * len(voices))[k] for k, own in enumerate((shortest, longest)))
        how = f"{cost.how}, and {len(passages) * len(voices)} passages for comparison"
        return dataclasses.replace(cost, low=cost.low + low, high=cost.high + high, how=how)

    def _asking(self, name: str, voices: Sequence[str], asked: Voices, certain: dict[str, int]) -> Cost:
        """Bound the answers: at least as long as the true ones (or `certain`), at most as long as allowed."""
        most = self.config.answers.max_new_tokens
        true = [min(most, len(m.answer)) for m in asked.encoded.values()]
        lengths = [certain.get(voice, length) for length in true for voice in voices]
        text = self.general * len(voices)  # each voice also scores the general text
        low = (self._speech(lengths, len(voices)) + text) * (1 - SLACK)
        high = (self._speech([most] * len(lengths), len(voices)) + text) * (1 + SLACK)
        return Cost(name, low, high, f"{len(lengths)} answers of up to {most} tokens")

    def _speech(self, lengths: Sequence[int], voices: int) -> float:
        """Return the seconds for answers of these lengths, batch by batch; a batch shrinks as its answers end."""
        size = self.config.answers.batch_size * voices
        fixed, each = line({rows: step for rows, (_, step) in self.talk.items()})
        begin, begin_each = line({rows: first for rows, (first, _) in self.talk.items()})
        seconds = 0.0
        for start in range(0, len(lengths), size):
            batch = lengths[start : start + size]
            seconds += begin + begin_each * len(batch) + fixed * (max(batch) - 1) + each * (sum(batch) - len(batch))
        return seconds

    def _widening(self) -> Cost:
        """Bound what the further questions cost: answers as long as the true ones, at most as long as the longest of
        them.
        """
        if self.further is None:
            return Cost("", 0.0, 0.0, "")
        count = len(self.further.examples)
        if bring_made(WIDENED, self.state):
            return Cost("", 0.0, 0.0, f"; {count} further questions were answered by an earlier run")
        usual = round(fmean([len(m.answer) for scope in SCOPES for m in self.state.encoded(scope, "train")]))
        low, high = (self._speech([length] * count, 2) for length in (usual, widened_answers.longest(self.voices)))
        return Cost("", low * (1 - SLACK), high * (1 + SLACK), f"; {count} further questions answered first")

    def _preparing(self, seconds: float, supply: Supply) -> float:
        """Return the seconds of what the method does once with all examples, the further questions too.

        seconds: what the first step took longer than others, without the further questions.
        """
        if type(self.method).prepare is Method.prepare:
            return 0.0
        count, more = len(supply.forget) + len(supply.retain), len(self.further.examples) if self.further else 0
        return max(0.0, seconds) * (count + more) / count

    def _watch_seconds(self, checks: int) -> float:
        """Return what the watched questions cost at most; each is asked again at every checkpoint."""
        asked = 2 * self.config.unlearn.watch
        return self._speech([self.config.answers.max_new_tokens] * asked, 1) * (checks + 1) if asked else 0.0
