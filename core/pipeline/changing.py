"""How a pipeline unlearns: what the method trains on, the loop, and which checkpoint becomes the model after."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from core.data import refusals, widen
from core.data.corpus import SCOPES, Example
from core.methods.base import REFUSAL
from core.metrics import accuracy
from core.models import adapter_files
from core.models.tokens import Encoded
from core.pipeline import unlearn, watch
from core.pipeline import unlearn_loop as unlearn_
from core.pipeline import widen as widen_
from core.pipeline.changes import changes
from core.pipeline.keys import Keys
from core.pipeline.stage_cache import cached
from core.pipeline.step_context import Supply
from core.runs import askable, picked_step
from core.runs.askable import NOT_TAUGHT
from core.util import files
from core.util.errors import Cancelled

WATCHED = 24
"""examples of each scope on which the unlearning loop measures itself"""


class Changing(Keys):
    """The part of a pipeline that makes the model after."""

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
                self.adapters,
                self.region,
                supply,
                watched,
                dataclasses.replace(c, method=self.method),
                pad=self.pad,
                seed=self.config.seed,
                report=self.report,
                save=save,
                ask=ask,
            )
            files.write_json(folder / "unlearn.json", {**asdict(result), "split": split})
            self._write_after(folder)
            shutil.copytree(self.run.path / "checkpoints", folder / "checkpoints")

        steps = dataclasses.replace(c, result_step=0, picked_on="")  # which of them is the result changes none of them
        key = self._key(
            "unlearn",
            self.adapters.hash("before"),
            self.corpus.fingerprint(),
            self.region,
            steps,
            c.method.name,
            never,
            self.config.data.max_tokens,
            self.config.answers.max_new_tokens,
            supply.fingerprint(),
        )
        try:
            source = self._cached("unlearn", key, produce, together=False)
        except Cancelled:
            # Before a first step, or while it waited for another run that makes the same, there is nothing to keep.
            if self.group.is_main and "after" in self.adapters.names and self.adapters.moved():
                self._write_after(self.run.path)
            raise
        if source or not self.group.is_main:
            self.adapters.copy("before", "after")
            self.adapters.set("after", adapter_files.read_tensors(self.run.path / "after" / "region.safetensors"))
            self._verify()
        if c.result_step:
            self._take(c.result_step)
        return source

    def _watched(self) -> tuple[str, dict[str, list[Encoded]]]:
        """Return on which split unlearning measures itself, and a fixed sample of it: dev where both scopes have some, else
        train.
        """
        split = "dev" if all(self.corpus.select(scope, "dev") for scope in SCOPES) else "train"
        return split, {scope: unlearn_.spread(self._part(scope, split), WATCHED) for scope in SCOPES}

    def _verify(self, step: int = 0) -> None:
        """Check that exactly the region changed, but for tensors that the method had not moved at a step, or at the kept
        one.
        """
        made = json.loads((self.run.path / "unlearn.json").read_text(encoding="utf-8"))
        idle = unlearn_.still(made.get("idle", []), made.get("late", {}), step or made["step"])
        unlearn_.verify(self.adapters, self.region, idle)

    def _take(self, step: int) -> None:
        """Make another checkpoint the result, as somebody chose."""
        self.adapters.copy("before", "after")
        self.adapters.set("after", adapter_files.read_tensors(askable.checkpoint(self.run, step)))
        self._verify(step)
        for name in ("after/region.safetensors", "changes.parquet"):
            (self.run.path / name).unlink()  # one file with the cache's, which must stay as it is
        self._write_after(self.run.path)
        found = json.loads((self.run.path / "unlearn.json").read_text(encoding="utf-8"))
        said = picked_step.words(step, found["step"], self.config.unlearn.picked_on)
        if str(found.get("stopped", "")).startswith("diverged"):
            said = f"{found['stopped']}; {said}"
        files.write_json(self.run.path / "unlearn.json", {**found, "step": step, "stopped": said})

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
            unlearn.updates(self.config.teach.from_run, self.folder) if method.continues else (),
        )

    def _refused(self, examples: list[Example]) -> dict[str, Encoded]:
        """Return example -> the same question with a refusal. Raises UserError where a subject has to be named and is not
        known.
        """
        encoded = self.voices.encode(refusals.refused(examples, self.method.refusals))
        return dict(zip((e.id for e in examples), encoded, strict=True))

    def _widened(self) -> dict[str, list[Example]]:
        """Return the generated examples of each scope, from the cache if these were made before."""
        assert self.further is not None
        asked = self.further

        def produce(folder: Path) -> None:
            widen.write(folder / "widened.jsonl", widen_.answered(asked, self.voices, self.adapters, self.report))

        cached(
            self.group,
            self.folder,
            "widened",
            self.widened_key(),
            self.run,
            produce,
            together=False,
            check=self.report.check,
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
