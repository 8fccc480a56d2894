"""The stages in order, each cached under a hash of exactly what it depends on.

A new threshold costs only unlearning, answers and evaluation; so does a new method. Runs in the worker: everything
here may import torch.
"""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core import regions
from core.config import own_methods
from core.config.run_config import RunConfig
from core.data import general_text, sources, widen
from core.data.corpus import SCOPES
from core.methods.base import GENERAL, REFUSAL
from core.models import adapter_files, device, names, quantized
from core.models.distributed import ALONE, Group
from core.models.model_cache import ModelCache
from core.pipeline import extras, preflight
from core.pipeline import localize as localize_
from core.pipeline import teach as teach_
from core.pipeline import unlearn_loop as unlearn_
from core.pipeline.beginning import Beginning
from core.pipeline.changing import Changing
from core.pipeline.ending import Ending
from core.pipeline.keys import SAMPLED
from core.pipeline.voices import Voices
from core.runs import manifest, region_file, store
from core.runs.store import Run
from core.runs.summary import summary
from core.serve import client
from core.util import failures, files
from core.util.errors import UserError
from core.util.progress import Reporter, peak_memory_mb


class Pipeline(Beginning, Changing, Ending):
    """One run from data to scores; holds the model between the stages."""

    def __init__(
        self,
        run: Run,
        config: RunConfig,
        folder: Path,
        report: Reporter,
        cache: ModelCache | None = None,
        group: Group = ALONE,
    ) -> None:
        """Load data and model, the latter from the cache if it is there. Raises UserError for what is wrong with either.

        group: the processes that do the run together; all but the main process have a run directory that nobody keeps.
        """
        self.run, self.config, self.folder, self.report, self.group = run, config, folder, report, group
        self.method = own_methods.resolved(config.unlearn.method)
        own_methods.record(config.unlearn.method, run.path)
        self.whole = sources.load(dataclasses.replace(config.data, dev_share=0.0, forget=()), config.seed)
        self.corpus = self.whole.with_dev(config.data.dev_share, config.seed, config.data.dev_pick).forgetting(
            config.data.forget
        )
        sources.both(self.corpus)
        for finding in self.corpus.findings():
            report.event("finding", text=finding)
        self.dtype = device.pick_dtype(config.model.dtype, config.model.device)
        self.cache = cache or ModelCache()
        self.loaded = self.cache.load(config.model, make_room=client.leave)
        self.voices = Voices(self.loaded, self.corpus.examples, config, report, group)
        self.asked = self._asked()
        # Made here, so that data which cannot be widened is refused before anything is taught.
        self.further = widen.questions(self.corpus, config.data.widen, config.seed) if config.data.widen else None
        # Read here for the same reason.
        self.general_text = (
            self.voices.encode(general_text.examples(config.data.general)) if GENERAL in self.method.streams else []
        )
        if REFUSAL in self.method.streams:
            self._refused(self.corpus.select("unlearn", "train"))
        self.pad = self.voices.pad
        self.stages = {}
        self.keys = {}
        self.taught = config.teach.enabled and not self.loaded.adapter
        # What a given adapter knows, the base without it is taken not to know.
        self.has_never = self.taught or self.loaded.adapter is not None
        if self.loaded.adapter and (text := names.finding(self.loaded.adapter)):
            report.event("finding", text=text)
        if config.teach.enabled and not self.taught:
            report.event("finding", text="Nothing is taught: the given adapter is taken as the model that knows.")
        name = names.adapter_base(self.loaded.adapter) if self.loaded.adapter else config.model.name
        if isinstance(config.region, regions.Located) and (text := config.region.borrowed(name, config.data.subset)):
            report.event("finding", text=text)
        unlearn_.check(self.method, config.unlearn)
        if self.method.follows_never and not self.has_never:
            raise UserError(
                (
                    f"{self.method.label} follows a model that was never taught, and this model knows the data "
                    "without its adapter."
                ),
                (
                    "Let the data be taught (teach.enabled), give the model as an adapter on its base, or choose "
                    "another method."
                ),
            )

    def go(self) -> dict[str, Any]:
        """Run all stages and return the summary, which only the main process of a group has."""
        for name in store.STAGES:
            started = time.monotonic()
            self.report.stage(name, "running")
            try:
                source = str(getattr(self, f"_{name}")())
            except OSError as error:
                raise failures.disk_error(self.run.path, error) from error
            seconds = time.monotonic() - started
            self.stages[name] = {
                "key": self.keys.get(name),
                "seconds": round(seconds, 2),
                "reused": bool(source),
                "source": source,
                "peak_memory_mb": peak_memory_mb(),
            }
            self.report.stage(name, "reused" if source else "done", seconds=seconds, source=source)
        if not self.group.is_main:
            return {}
        manifest.write(self.run, self.stages, self.loaded, self.corpus, self.adapters, self.config.seed, self.group.size)
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
                adapters,
                unlearn,
                retention,
                config,
                pad=self.pad,
                seed=self.config.seed,
                report=self.report,
                group=self.group,
            )
            adapters.save("before", folder / "before", self.config.model.name)
            files.write_json(folder / "teach.json", asdict(result))
            self.adapters = adapters

        key = self.teach_key()
        source = self._cached("teach", key, produce)
        if source:
            self.adapters = self.cache.taught(key) or self._read_adapter(self.run.path / "before")
        elif not self.group.is_main:
            self.adapters.set("before", adapter_files.read_adapter(self.run.path / "before"))
        if config.merge:
            self._merge()
        self.cache.keep("" if config.merge else key, self.adapters)
        return source

    def _preflight(self) -> str:
        voices = ["before", *(["never"] if self.has_never else [])]

        def produce(folder: Path) -> None:
            self.voices.score(self.adapters, voices).to_parquet(folder / "reference.parquet")
            answers = self.voices.ask(self.adapters, voices)
            found = {"answers": answers, "general": self.voices.general(self.adapters, voices)}
            files.write_json(
                folder / "reference.json", {**found, "extras": self._extras(voices, answers, folder, self.corpus.examples)}
            )

        key = self._key(
            "preflight",
            self.adapters.hash("before"),
            self.corpus.fingerprint(),
            voices,
            self.config.answers,
            self._scored(),
            self.config.data.max_tokens,
            extras.fingerprint(self.config.data.subset),
            *([SAMPLED] if self.config.answers.temperature else []),
        )
        source = self._cached("preflight", key, produce)
        self.reference = pd.read_parquet(self.run.path / "reference.parquet")
        self.recorded = json.loads((self.run.path / "reference.json").read_text(encoding="utf-8"))
        found = preflight.knowledge(self.corpus, self.reference, self.recorded["answers"]["before"], self.voices.within())
        files.write_json(self.run.path / "preflight.json", found)
        self.report.event("preflight", **found)
        preflight.check(found, self.config)
        return source

    def _localize(self) -> str:
        c = self.config.localize

        def produce(folder: Path) -> None:
            found = localize_.localize(
                self.adapters,
                self._part("unlearn", "train"),
                self._part("retention", "train"),
                c,
                pad=self.pad,
                words=self._words(),
                seed=self.config.seed + c.seed_offset,
                report=self.report,
                group=self.group,
            )
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
            self.run,
            {"name": rule.name, **asdict(rule)},
            self.region,
            elements,
            quantized.parameters(self.loaded.model),
            limits=rule.limits(table) if isinstance(rule, regions.Located) else None,
            with_gradient=int(table["has_gradient"].sum()),
        )
        return ""


def _smaller(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 else array
