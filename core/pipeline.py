"""The stages in order, each cached under a hash of exactly what it depends on.

A new threshold costs only unlearning, answers and evaluation; so does a new method. Runs in the worker: everything
here may import torch.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from core import (
    adapter_files,
    answerer,
    data,
    extras,
    fitting,
    general,
    lineage,
    manifest,
    models,
    own_method,
    preflight,
    quantized,
    refusals,
    region_file,
    regions,
    sequence,
    stop_here,
    store,
    watch,
    widen,
)
from core import localize as localize_
from core import teach as teach_
from core import unlearn as unlearn_
from core.adapters import Adapters
from core.batching import Encoded
from core.beginning import Beginning
from core.changes import changes
from core.config import RunConfig
from core.context import Supply
from core.corpus import SCOPES, Corpus, Example
from core.crew import ALONE, Crew, cached
from core.ending import Ending
from core.errors import Cancelled, UserError
from core.fitting import NOT_TAUGHT
from core.keys import SAMPLED, Keys
from core.methods.base import GENERAL, REFUSAL
from core.metrics import accuracy
from core.models import Loaded
from core.progress import Reporter, peak_memory_mb
from core.shelf import Shelf
from core.store import Run
from core.summary import summary
from core.voices import Voices


class Pipeline(Keys, Beginning, Ending):
    """One run from data to scores; holds the model between the stages."""

    def __init__(
        self,
        run: Run,
        config: RunConfig,
        folder: Path,
        report: Reporter,
        shelf: Shelf | None = None,
        crew: Crew = ALONE,
    ) -> None:
        """Load data and model, the latter from the shelf if it is there. Raises UserError for what is wrong with either.

        crew: the processes that do the run together; all but the chief have a run directory that nobody keeps.
        """
        self.run, self.config, self.folder, self.report, self.crew = run, config, folder, report, crew
        self.method = own_method.resolved(config.unlearn.method)
        own_method.record(config.unlearn.method, run.path)
        self.whole = data.load(dataclasses.replace(config.data, dev_share=0.0, forget=()), config.seed)
        self.corpus: Corpus = self.whole.with_dev(config.data.dev_share, config.seed, config.data.dev_pick).forgetting(
            config.data.forget
        )
        data.both(self.corpus)
        for finding in self.corpus.findings():
            report.event("finding", text=finding)
        self.dtype = models.pick_dtype(config.model.dtype, config.model.device)
        self.shelf = shelf or Shelf()
        self.loaded: Loaded = self.shelf.load(config.model, make_room=answerer.leave)
        self.voices = Voices(self.loaded, self.corpus.examples, config, report, crew)
        self.asked = self._asked()
        # Made here, so that data which cannot be widened is refused before anything is taught.
        self.further = widen.questions(self.corpus, config.data.widen, config.seed) if config.data.widen else None
        # Read here for the same reason.
        self.general_text = (
            self.voices.encode(general.examples(config.data.general)) if GENERAL in self.method.streams else []
        )
        if REFUSAL in self.method.streams:
            self._refused(self.corpus.select("unlearn", "train"))
        self.pad = self.voices.pad
        self.adapters: Adapters
        self.stages: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, str] = {}
        self.taught = config.teach.enabled and not self.loaded.adapter
        # What a given adapter knows, the base without it is taken not to know.
        self.has_never = self.taught or self.loaded.adapter is not None
        if self.loaded.adapter and (text := lineage.finding(self.loaded.adapter)):
            report.event("finding", text=text)
        if config.teach.enabled and not self.taught:
            report.event("finding", text="Nothing is taught: the given adapter is taken as the model that knows.")
        unlearn_.check(self.method, config.unlearn)
        if self.method.follows_never and not self.has_never:
            raise UserError(
                f"{self.method.label} follows a model that was never taught, and this model knows the data without its adapter.",
                "Let the data be taught (teach.enabled), give the model as an adapter on its base, or choose another method.",
            )

    def go(self) -> dict[str, Any]:
        """Run all stages and return the summary, which only the chief of a crew has."""
        for name in store.STAGES:
            started = time.monotonic()
            self.report.stage(name, "running")
            try:
                source = str(getattr(self, f"_{name}")())
            except OSError as error:
                raise store.disk_error(self.run.path, error) from error
            seconds = time.monotonic() - started
            self.stages[name] = {
                "key": self.keys.get(name), "seconds": round(seconds, 2), "reused": bool(source), "source": source,
                "peak_memory_mb": peak_memory_mb(),
            }  # fmt: skip
            self.report.stage(name, "reused" if source else "done", seconds=seconds, source=source)
        if not self.crew.chief:
            return {}
        manifest.write(self.run, self.stages, self.loaded, self.corpus, self.adapters, self.config.seed, self.crew.size)
        return summary(self.run)

    # -- the stages -------------------------------------------------------------------------------------------------

    def _teach(self) -> str:
        config = self.config.teach
        if config.from_run:
            return self._go_on()
        if not self.taught:
            self._given_adapter()
            return ""

        def produce(folder: Path) -> None:
            adapters = self._attach()
            unlearn, retention = (self.voices.encode(self.whole.select(scope)) for scope in SCOPES)
            result = teach_.teach(
                adapters, unlearn, retention, config,
                pad=self.pad, seed=self.config.seed, report=self.report, crew=self.crew,
            )  # fmt: skip
            adapters.save("before", folder / "before", self.config.model.name)
            store.write_json(folder / "teach.json", asdict(result))
            self.adapters = adapters

        key = self.teach_key()
        source = self._cached("teach", key, produce)
        if source:
            self.adapters = self.shelf.taught(key) or self._read_adapter(self.run.path / "before")
        elif not self.crew.chief:
            self.adapters.set("before", adapter_files.read_adapter(self.run.path / "before"))
        if config.merge:
            self._merge()
        self.shelf.keep("" if config.merge else key, self.adapters)
        return source

    def _preflight(self) -> str:
        voices = ["before", *(["never"] if self.has_never else [])]

        def produce(folder: Path) -> None:
            self.voices.score(self.adapters, voices).to_parquet(folder / "reference.parquet")
            answers = self.voices.ask(self.adapters, voices)
            found = {"answers": answers, "general": self.voices.general(self.adapters, voices)}
            store.write_json(
                folder / "reference.json", {**found, "extras": self._extras(voices, answers, folder, self.corpus.examples)}
            )

        key = self._key(
            "preflight", self.adapters.hash("before"), self.corpus.fingerprint(), voices,
            self.config.answers, self._scored(), self.config.data.max_tokens, extras.fingerprint(self.config.data.subset),
            *([SAMPLED] if self.config.answers.temperature else []),
        )  # fmt: skip
        source = self._cached("preflight", key, produce)
        self.reference = pd.read_parquet(self.run.path / "reference.parquet")
        self.recorded = json.loads((self.run.path / "reference.json").read_text(encoding="utf-8"))
        found = preflight.knowledge(self.corpus, self.reference, self.recorded["answers"]["before"])
        store.write_json(self.run.path / "preflight.json", found)
        self.report.event("preflight", **found)
        minimum = self.config.preflight.minimum_facts
        if found["facts"]["share"] is not None and found["facts"]["share"] < minimum:
            known, asked = found["facts"]["known"], found["facts"]["asked"]
            raise UserError(
                f"This model does not know what it should forget: {known} of {asked} facts of the unlearn scope stand in "
                f"its answers ({found['facts']['share']:.0f} %, at least {minimum:.0f} % are needed).",
                "Teach it (--set teach.enabled=true), teach longer, or lower preflight.minimum_facts.",
            )
        return source

    def _localize(self) -> str:
        c = self.config.localize

        def produce(folder: Path) -> None:
            found = localize_.localize(
                self.adapters, self._part("unlearn", "train"), self._part("retention", "train"), c,
                pad=self.pad, words=self._words(), seed=self.config.seed + c.seed_offset, report=self.report,
                crew=self.crew,
            )  # fmt: skip
            found.table.to_parquet(folder / "localization.parquet")
            found.contributions.to_parquet(folder / "contributions.parquet")
            found.separability.to_parquet(folder / "separability.parquet")
            np.savez_compressed(folder / "detail.npz", **{k: _smaller(v) for k, v in found.detail.items()})  # type: ignore[arg-type]

        key = self.localize_key()
        return self._cached("localize", key, produce)

    def _region(self) -> str:
        table = pd.read_parquet(self.run.path / "localization.parquet")
        rule = self.config.region
        self.region = regions.choose(rule, table)
        elements = dict(zip(table["name"], (table["rows"] * table["columns"]).tolist(), strict=True))
        region_file.write(
            self.run, {"name": rule.name, **asdict(rule)}, self.region, elements, quantized.parameters(self.loaded.model),
            limits=rule.limits(table) if isinstance(rule, regions.Located) else None,
            with_gradient=int(table["has_gradient"].sum()),
        )  # fmt: skip
        return ""

    def _unlearn(self) -> str:
        c = self.config.unlearn
        split, sample = self._watched()
        never = accuracy.mean(self.reference, "never", [m.id for m in sample["unlearn"]]) if self.has_never else None
        if c.stop == "never-taught" and never is None:
            self.report.event("finding", text=f"Unlearning makes all its steps: {NOT_TAUGHT}.")
        kept = accuracy.mean(self.reference, "before", [m.id for m in sample["retention"]])
        watched = unlearn_.Watched(sample["unlearn"], sample["retention"], never, kept)
        questions = watch.choose(self.corpus, c.watch, split)
        ask = partial(watch.Watch(questions, self.voices, self.config.answers).ask, self.adapters) if questions else None
        supply = self._supply()

        def produce(folder: Path) -> None:
            shutil.rmtree(self.run.path / "checkpoints", ignore_errors=True)
            (self.run.path / "checkpoints").mkdir()

            def save(step: int, tensors: dict[str, torch.Tensor]) -> None:
                # Into the run at once: a run that is cancelled or killed keeps what it has.
                adapter_files.write_tensors(tensors, self.run.path / "checkpoints" / f"step-{step:05d}.safetensors")
                self.report.event("checkpoint", step=step)

            result = unlearn_.unlearn(
                self.adapters, self.region, supply, watched, dataclasses.replace(c, method=self.method),
                pad=self.pad, seed=self.config.seed, report=self.report, save=save, ask=ask,
            )  # fmt: skip
            store.write_json(folder / "unlearn.json", {**asdict(result), "split": split})
            self._write_after(folder)
            shutil.copytree(self.run.path / "checkpoints", folder / "checkpoints")

        steps = dataclasses.replace(c, result_step=0, picked_on="")  # which of them is the result changes none of them
        key = self._key(
            "unlearn", self.adapters.hash("before"), self.corpus.fingerprint(), self.region, steps, c.method.name, never,
            self.config.data.max_tokens, self.config.answers.max_new_tokens, supply.fingerprint(),
        )  # fmt: skip
        try:
            source = self._cached("unlearn", key, produce, together=False)
        except Cancelled:
            # Before a first step, or while it waited for another run that makes the same, there is nothing to keep.
            if self.crew.chief and "after" in self.adapters.names and self.adapters.moved():
                self._write_after(self.run.path)
            raise
        if source or not self.crew.chief:
            self.adapters.copy("before", "after")
            self.adapters.set("after", adapter_files.read_tensors(self.run.path / "after" / "region.safetensors"))
            self._verify()
        if c.result_step:
            self._take(c.result_step)
        return source

    def _watched(self) -> tuple[str, dict[str, list[Encoded]]]:
        """Return on which split unlearning measures itself, and a fixed sample of it: dev where both scopes have some, else train."""
        split = "dev" if all(self.corpus.select(scope, "dev") for scope in SCOPES) else "train"
        return split, {scope: unlearn_.spread(self._part(scope, split), WATCHED) for scope in SCOPES}

    def _verify(self, step: int = 0) -> None:
        """Check that exactly the region changed, but for tensors that the method had not moved at a step, or at the kept one."""
        made = json.loads((self.run.path / "unlearn.json").read_text(encoding="utf-8"))
        idle = unlearn_.still(made.get("idle", []), made.get("late", {}), step or made["step"])
        unlearn_.verify(self.adapters, self.region, idle)

    def _take(self, step: int) -> None:
        """Make another checkpoint the result, as somebody chose."""
        self.adapters.copy("before", "after")
        self.adapters.set("after", adapter_files.read_tensors(fitting.checkpoint(self.run, step)))
        self._verify(step)
        for name in ("after/region.safetensors", "changes.parquet"):
            (self.run.path / name).unlink()  # one file with the cache's, which must stay as it is
        self._write_after(self.run.path)
        found = json.loads((self.run.path / "unlearn.json").read_text(encoding="utf-8"))
        said = stop_here.words(step, found["step"], self.config.unlearn.picked_on)
        if str(found.get("stopped", "")).startswith("diverged"):
            said = f"{found['stopped']}; {said}"
        store.write_json(self.run.path / "unlearn.json", {**found, "step": step, "stopped": said})

    def _supply(self, *, widened: bool = True) -> Supply:
        """Return what the method trains on: both scopes, widened if the settings say so, and what it needs besides."""
        method, voices = self.method, self.voices
        more = self._widened() if self.further and widened else {}
        parts = {
            scope: self._part(scope, "train") + voices.encode(more.get(scope, [])) for scope in ("unlearn", "retention")
        }
        refused: list[Example] = []
        if REFUSAL in method.streams:
            refused = [*self.corpus.select("unlearn", "train"), *more.get("unlearn", [])]
        return Supply(
            parts["unlearn"],
            parts["retention"],
            self.general_text,
            self._refused(refused),
            self._words(),
            sequence.updates(self.config.teach.from_run, self.folder) if method.continues else (),
        )

    def _refused(self, examples: list[Example]) -> dict[str, Encoded]:
        """Return example -> the same question with a refusal. Raises UserError where a subject has to be named and is not known."""
        encoded = self.voices.encode(refusals.refused(examples, self.method.refusals))
        return dict(zip((e.id for e in examples), encoded, strict=True))

    def _widened(self) -> dict[str, list[Example]]:
        """Return the generated examples of each scope, from the cache if these were made before."""
        assert self.further is not None
        asked = self.further

        def produce(folder: Path) -> None:
            widen.write(folder / "widened.jsonl", widen.answered(asked, self.voices, self.adapters, self.report))

        cached(
            self.crew, self.folder, "widened", self.widened_key(), self.run, produce, together=False, check=self.report.check
        )
        found = widen.read(self.run.path / "widened.jsonl")
        self.report.event("widened", **widen.account(asked, found))
        return found

    def _write_after(self, folder: Path) -> None:
        """Write the region's tensors and what changed in them; of a cancelled run those of its last step."""
        (folder / "after").mkdir(exist_ok=True)
        tensors = {name: self.adapters.tensor("after", name).detach() for name in self.region}
        adapter_files.write_tensors(tensors, folder / "after" / "region.safetensors")
        changes(self.adapters).to_parquet(folder / "changes.parquet")

    # -- shared pieces ----------------------------------------------------------------------------------------------

    def _cached(self, stage: str, key: str, produce: Callable[[Path], None], *, together: bool = True) -> str:
        """Bring a stage's files into the run, from the cache or made now: by all processes together or the chief alone."""
        self.keys[stage] = key
        return cached(self.crew, self.folder, stage, key, self.run, produce, together=together, check=self.report.check)

    def _part(self, scope: str, split: str | None = None) -> list[Encoded]:
        return [self.voices.encoded[e.id] for e in self.corpus.select(scope, split)]

    def _words(self) -> torch.Tensor:
        special = set(self.loaded.tokenizer.all_special_ids)
        return torch.tensor([i for i in range(len(self.loaded.tokenizer)) if i not in special])


WATCHED = 24
"""examples of each scope on which the unlearning loop measures itself"""


def _smaller(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 else array
