"""The work of an audit: visit each base once, let its voices answer, and write what a run would have recorded.

Bases are visited one after the other, so never more than one model is in memory; before comes last, because it judges
the others' answers and distributions. Where a model cuts text into other tokens than before, what it answers is
recorded, and what is compared token by token is left out, with the reason. audit.json says what was compared:

    {"format", "whole": whether there is no common base, "sides": {voice: {"name", "base", "note", "adapter", "weights",
     "hash"}}, "tokens": {voice: "" or why it has no token-level view}, "changes": "" or why there is no ‖Δθ‖}
"""

from __future__ import annotations

import dataclasses
import gc
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from core.config.run_config import FORMAT, RunConfig
from core.data import everyday, sources
from core.data.findings import findings
from core.metrics import evaluation
from core.models import adapter_files, device, foreign_adapters, loading, quantized
from core.models import names as lineage
from core.models.adapters import Adapters
from core.models.loading import Loaded
from core.pipeline import preflight
from core.pipeline.extras import Extras
from core.pipeline.stage import timed
from core.pipeline.voices import Voices, without_ends
from core.pipeline.weight_changes import of_files, of_matrices
from core.runs import manifest, region_file
from core.runs.audit import FILE, KIND, NO_NEVER, Side, groups, sides
from core.runs.store import Run
from core.runs.summary import summary
from core.util import files
from core.util.progress import Reporter

OTHER_TOKENS = "its tokenizer cuts the texts into other tokens than before's, so the two cannot be compared token by token"
KEPT = "distributions"
"""folder, while an audit goes on, of what other models say about the general text"""


class Auditing:
    """One audit from models and data to scores."""

    def __init__(self, run: Run, config: RunConfig, report: Reporter, make_room: Callable[[], object] | None = None) -> None:
        """Read the data. Raises UserError for wrong models or data. make_room: asked to free memory for a model."""
        self.run, self.config, self.report, self.make_room = run, config, report, make_room
        self.sides = sides(config.audit)
        self.groups = groups(self.sides)
        self.corpus = sources.load(config.data, config.seed)
        for text in [*findings(self.corpus), *(lineage.finding(side.adapter) for side in self.sides if side.adapter)]:
            if text:
                report.event("finding", text=text)
        self.besides = everyday.examples() if config.evaluate.extras else []
        """questions that are asked as well, and not scored"""
        self.dtype = device.pick_dtype(config.model.dtype, config.model.device)
        self.cuts: dict[str, list[tuple[int, ...]]] = {}
        """voice -> the tokens of all examples and of the general text"""
        self.vocabulary: dict[str, int] = {}
        """voice -> size of its distributions"""
        self.tables: dict[str, pd.DataFrame] = {}
        self.unseen: dict[str, pd.DataFrame] = {}
        self.within: dict[str, str] = {}
        """example -> its true answer, as far as an answer of before may be long"""
        self.answers: dict[str, dict[str, str]] = {}
        self.recorded: dict[str, dict[str, Any]] = {"general": {}, "choices": {}, "wrong": {}, "kl": {}}
        self.facts: dict[str, dict[str, Any]] = {}
        self.device = self.changes = ""

    def go(self) -> dict[str, Any]:
        """Visit all models, write the run's files, return the summary."""
        steps = {"answers": self._visit_all, "evaluate": self._write}
        stages = {name: timed(name, self.run, self.report, step) for name, step in steps.items()}
        before = self.facts["before"]
        parts = {
            "kind": KIND,
            "model": {key: before[key] for key in ("name", "note", "weights")} | {"name": before["base"]},
            "models": self.facts,
            "adapters": {voice: facts["hash"] for voice, facts in self.facts.items()},
            "device": self.device,
            "dtype": self.dtype,
        }
        manifest.write_parts(self.run, stages, self.corpus, self.config.seed, parts)
        return summary(self.run)

    # -- the visits ---------------------------------------------------------------------------------------------------

    def _visit_all(self) -> str:
        shutil.rmtree(self.run.path / KEPT, ignore_errors=True)
        try:
            for group in self.groups:
                self._visit(group)
                gc.collect()  # models refer to themselves: without this the next one would come before the last one is gone
            if self.whole:
                self._changes_of_files()
        finally:
            shutil.rmtree(self.run.path / KEPT, ignore_errors=True)
        return ""

    @property
    def whole(self) -> bool:
        """Whether before and after have no common base."""
        return len({side.source for side in self.sides if side.voice != "never"}) > 1

    def _visit(self, group: list[Side]) -> None:
        """Load a base and record everything of its voices."""
        loaded = loading.load(dataclasses.replace(self.config.model, name=group[0].base), make_room=self.make_room)
        adapters = foreign_adapters.attach(
            loaded.model, self.dtype, {o.voice: o.adapter for o in group if o.voice != "never"}
        )
        voices = Voices(loaded, self.corpus.examples, self.config, self.report, besides=self.besides)
        names = [side.voice for side in group]
        self.device = str(adapters.device)
        for side in group:
            self.facts[side.voice] = _facts(side, loaded, adapters)
            self.vocabulary[side.voice] = int(adapters.model.get_output_embeddings().weight.shape[0])
            self.cuts[side.voice] = [e.ids for e in [*voices.encoded.values(), *voices.general_encoded()]]
        asked, general = voices.ask(adapters, names), voices.general(adapters, names)
        scored = voices.score(adapters, names)
        self.lexicon = voices.lexicon()
        extras = Extras(voices, self.corpus, voices.examples) if self.config.evaluate.extras else None
        judged, unseen = extras.judged(adapters, names) if extras else ({}, None)
        for voice in names:
            self.answers[voice] = asked[voice]
            self.tables[voice] = _of_voice(scored, voice)
            self.recorded["general"][voice] = general[voice]
            for part, by_voice in judged.items():
                self.recorded[part][voice] = by_voice[voice]
            if unseen is not None:
                self.unseen[voice] = _of_voice(unseen, voice)
            if extras and "before" not in names:
                extras.keep(adapters, voice, self.run.path / KEPT / voice)
        if "before" in names:
            self.within = voices.within()
            if not self.whole:
                self._keep_adapters(adapters, loaded)
            if extras:
                self._compare(adapters, extras, names)

    def _compare(self, adapters: Adapters, extras: Extras, here: list[str]) -> None:
        """Record what needs before beside another voice."""
        self.recorded |= extras.material()
        for voice in self.answers:
            alike = all(by_voice[voice] == by_voice["before"] for by_voice in (self.cuts, self.vocabulary))
            if voice != "before" and alike:
                kept = None if voice in here else self.run.path / KEPT / voice
                self.recorded["kl"][voice] = extras.kl(adapters, voice, kept)

    def _keep_adapters(self, adapters: Adapters, loaded: Loaded) -> None:
        """Write both adapters as a run's, so that everything that asks a run's model can ask this one's."""
        adapters.save("before", self.run.path / "before", self.config.model.name)
        moved = adapters.moved()
        (self.run.path / "after").mkdir(exist_ok=True)
        tensors = {name: adapters.tensor("after", name).detach() for name in moved}
        adapter_files.write_tensors(tensors, self.run.path / "after" / "region.safetensors")
        of_matrices(adapters).to_parquet(self.run.path / "changes.parquet")
        elements = {cell.name: math.prod(cell.shape) for cell in adapters.cells}
        parameters = quantized.parameters(loaded.model)
        region_file.write(self.run, {"name": KIND}, moved, elements, parameters)
        if not moved:
            self.report.event("finding", text="Both are the same: not one weight differs between before and after.")

    def _changes_of_files(self) -> None:
        """Compare the weights of two whole models, tensor by tensor, where they have the same ones."""
        before, after = (next(side for side in self.sides if side.voice == voice) for voice in ("before", "after"))
        if before.adapter or after.adapter:
            self.changes = "one of the two is an adapter on another base"
            return
        table = of_files(*(Path(self.facts[side.voice]["folder"]) for side in (before, after)))
        if table is None:
            self.changes = "the two models do not have the same weight matrices"
            return
        table.to_parquet(self.run.path / "changes.parquet")

    # -- the files ----------------------------------------------------------------------------------------------------

    def _write(self) -> str:
        """Write answers, tokens, what was recorded, and the metrics of all that."""
        order = [voice for voice in ("before", "after", "never") if voice in self.answers]
        same = [voice for voice in order if self.cuts[voice] == self.cuts["before"]]
        why = {voice: "" if voice in same else OTHER_TOKENS for voice in order}
        for voice in [voice for voice in order if voice not in same]:
            for part in ("general", "wrong"):
                self.recorded[part].pop(voice, None)
            self.report.event("finding", text=f"{voice}: {OTHER_TOKENS}. Its answers can be compared.")
        tokens = evaluation.joined([self.tables[voice] for voice in same])
        knowledge = preflight.knowledge(self.corpus.examples, tokens, self.answers["before"], self.within)
        files.write_json(self.run.path / "preflight.json", knowledge)
        kinds = {
            "format": FORMAT,
            "whole": self.whole,
            "sides": {voice: self.facts[voice] for voice in order},
            "tokens": why,
            "changes": self.changes,
        }
        files.write_json(self.run.path / FILE, kinds)
        missing = {voice: text for voice, text in why.items() if text} | ({} if "never" in order else {"never": NO_NEVER})
        unseen = [self.unseen[voice] for voice in same if voice in self.unseen]
        evaluation.Spoken(
            evaluation.placed(tokens, self.corpus.examples),
            {voice: self.answers[voice] for voice in order},
            self.recorded | {"missing": missing} | without_ends(self.config),
            evaluation.known_words(self.answers.values(), self.lexicon),
            evaluation.joined(unseen) if unseen else None,
        ).write(self.run, [*self.corpus.examples, *self.besides])
        return ""


def _facts(side: Side, loaded: Loaded, adapters: Adapters) -> dict[str, Any]:
    """Return what identifies a voice: names, files and hashes."""
    weights: Mapping[str, str] = loaded.files
    adapter = files.sha256(side.adapter / "adapter_model.safetensors") if side.adapter else ""
    base = files.digest(weights)
    return {
        "name": side.name,
        "base": side.base,
        "note": side.note,
        "folder": str(loaded.folder),
        "weights": dict(weights),
        "adapter": adapter,
        "hash": adapters.hash(side.voice) if side.adapter else base,
    }


def _of_voice(table: pd.DataFrame, voice: str) -> pd.DataFrame:
    """Return a table of answer tokens with the columns of one voice alone."""
    shared = ["example", "position", "token", "text"]
    return table[[name for name in table.columns if name in shared or name.endswith(f"_{voice}")]]
