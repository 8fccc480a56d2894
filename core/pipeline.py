"""The stages in order, each cached under a hash of exactly what it depends on.

A new threshold costs only unlearning, answers and evaluation; so does a new method. Runs in the worker: everything
here may import torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import resource
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from core import adapters as adapters_
from core import answerer, data, facts, models, regions, store
from core import localize as localize_
from core import teach as teach_
from core import unlearn as unlearn_
from core.adapters import Adapters
from core.batching import Encoded
from core.config import FORMAT, RunConfig
from core.data import Corpus, Example
from core.errors import Cancelled, UserError
from core.metrics import METRICS, Evidence
from core.models import Loaded
from core.progress import Reporter
from core.store import Run
from core.summary import clean, summary
from core.voices import Voices, general_lines

CODE = 1
"""Raised whenever a stage computes something else than before: it makes old cache entries unreachable."""

STILL_OPEN = {"status.json", "events.jsonl", "worker.log", "manifest.json", "cancel", "label.json", "imported.json"}
"""Files that are written after the manifest, by the worker or by people: a hash of them would soon be wrong."""

NOT_TAUGHT = "this run did not teach the model, so there is no model that never knew the data"


class Pipeline:
    """One run from data to scores; holds the model between the stages."""

    def __init__(self, run: Run, config: RunConfig, folder: Path, report: Reporter) -> None:
        """Load data and model. Raises UserError for whatever is wrong with either."""
        self.run, self.config, self.folder, self.report = run, config, folder, report
        self.whole = data.load(dataclasses.replace(config.data, dev_share=0.0), config.seed)
        self.corpus: Corpus = self.whole.with_dev(config.data.dev_share, config.seed)
        for finding in self.corpus.findings():
            report.event("finding", text=finding)
        self.dtype = models.pick_dtype(config.model.dtype, config.model.device)
        self.loaded: Loaded = models.load(config.model, make_room=answerer.leave)
        self.voices = Voices(self.loaded, self.corpus.examples, config, report)
        self.pad = self.voices.pad
        self.base_key = [CODE, self.loaded.files or str(self.loaded.folder), self.dtype, config.model.template, config.seed]
        self.adapters: Adapters
        self.manifest: dict[str, Any] = {"stages": {}}
        self.keys: dict[str, str] = {}
        self.taught = config.teach.enabled and not self.loaded.adapter
        if config.teach.enabled and not self.taught:
            report.event("finding", text="Nothing is taught: the given adapter is taken as the model that knows.")

    def go(self) -> dict[str, Any]:
        """Run all stages and return the summary."""
        for name in store.STAGES:
            started = time.monotonic()
            self.report.stage(name, "running")
            try:
                reused = bool(getattr(self, f"_{name}")())
            except OSError as error:
                raise store.disk_error(self.run.path, error) from error
            self.manifest["stages"][name] = {
                "key": self.keys.get(name),
                "seconds": round(time.monotonic() - started, 2), "reused": reused, "peak_memory_mb": peak_memory_mb(),
            }  # fmt: skip
            self.report.stage(name, "reused" if reused else "done", seconds=time.monotonic() - started)
        self._write_manifest()
        return summary(self.run)

    # -- the stages -------------------------------------------------------------------------------------------------

    def _teach(self) -> bool:
        config = self.config.teach
        if not self.taught:
            self._given_adapter()
            return False

        def produce(folder: Path) -> None:
            adapters = self._attach()
            result = teach_.teach(
                adapters, self._part("unlearn"), self._part("retention"), config,
                pad=self.pad, seed=self.config.seed, report=self.report,
            )  # fmt: skip
            adapters.save("before", folder / "before", self.config.model.name)
            store.write_json(folder / "teach.json", asdict(result))
            self.adapters = adapters

        key = digest(self.base_key, self.whole.fingerprint(), self.config.data.max_tokens, config)
        reused = self._cached("teach", key, produce)
        if reused:
            self.adapters = adapters_.load(self.loaded.model, self.dtype, self.run.path / "before")
        return reused

    def _given_adapter(self) -> None:
        """Take the user's adapter as before, or a fresh one that changes nothing."""
        if self.loaded.adapter:
            self.adapters = adapters_.load(self.loaded.model, self.dtype, self.loaded.adapter)
        else:
            self.adapters = self._attach()
        base = models.adapter_base(self.loaded.adapter) if self.loaded.adapter else self.config.model.name
        self.adapters.save("before", self.run.path / "before", base)

    def _attach(self) -> Adapters:
        c = self.config.teach
        return adapters_.attach(
            self.loaded.model, self.dtype, rank=c.rank, alpha=c.alpha, dropout=c.dropout, seed=self.config.seed
        )

    def _preflight(self) -> bool:
        voices = ["before", *(["never"] if self.taught else [])]

        def produce(folder: Path) -> None:
            self.voices.score(self.adapters, voices).to_parquet(folder / "reference.parquet")
            store.write_json(
                folder / "reference.json",
                {"answers": self.voices.ask(self.adapters, voices), "general": self.voices.general(self.adapters, voices)},
            )

        key = digest(
            self.base_key, self.adapters.hash("before"), self.corpus.fingerprint(), voices,
            self.config.answers, self.config.evaluate, self.config.data.max_tokens, general_lines(),
        )  # fmt: skip
        reused = self._cached("preflight", key, produce)
        self.reference = pd.read_parquet(self.run.path / "reference.parquet")
        self.recorded = json.loads((self.run.path / "reference.json").read_text(encoding="utf-8"))
        found = preflight(self.corpus, self.reference, self.recorded["answers"]["before"])
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
        return reused

    def _localize(self) -> bool:
        c = self.config.localize

        def produce(folder: Path) -> None:
            found = localize_.localize(
                self.adapters, self._part("unlearn", "train"), self._part("retention", "train"), c,
                pad=self.pad, words=self._words(), seed=self.config.seed, report=self.report,
            )  # fmt: skip
            found.table.to_parquet(folder / "localization.parquet")
            found.contributions.to_parquet(folder / "contributions.parquet")
            np.savez_compressed(folder / "detail.npz", **{k: _smaller(v) for k, v in found.detail.items()})  # type: ignore[arg-type]

        key = digest(self.base_key, self.adapters.hash("before"), self.corpus.fingerprint(), c, self.config.data.max_tokens)
        return self._cached("localize", key, produce)

    def _region(self) -> bool:
        table = pd.read_parquet(self.run.path / "localization.parquet")
        rule = self.config.region
        self.region = regions.choose(rule, table)
        inside = table["name"].isin(self.region)
        elements = table["rows"] * table["columns"]
        limits = rule.limits(table) if isinstance(rule, regions.Located) else None
        store.write_json(
            self.run.path / "region.json",
            {
                "format": FORMAT,
                "rule": {"name": rule.name, **asdict(rule)},
                "limits": limits,
                "tensors": self.region,
                "count": len(self.region),
                "total": len(table),
                "with_gradient": int(table["has_gradient"].sum()),
                "share_of_adapter": 100.0 * float(elements[inside].sum() / elements.sum()),
                "parameters_of_model": self._parameters(),
                "share_of_model": 100.0 * float(elements[inside].sum()) / self._parameters(),
            },
        )
        return False

    def _unlearn(self) -> bool:
        c = self.config.unlearn
        split = "dev" if self.corpus.select("unlearn", "dev") else "train"
        never = self._accuracy("never", "unlearn", split) if self.taught else None
        if c.stop == "never-taught" and never is None:
            self.report.event("finding", text=f"Unlearning makes all its steps: {NOT_TAUGHT}.")
        watched = unlearn_.Watched(
            unlearn_.spread(self._part("unlearn", split), WATCHED),
            unlearn_.spread(self._part("retention", split), WATCHED),
            never,
        )

        def produce(folder: Path) -> None:
            shutil.rmtree(self.run.path / "checkpoints", ignore_errors=True)
            (self.run.path / "checkpoints").mkdir()

            def save(step: int, tensors: dict[str, torch.Tensor]) -> None:
                # Into the run at once: a run that is cancelled or killed keeps what it has.
                adapters_.write_tensors(tensors, self.run.path / "checkpoints" / f"step-{step:05d}.safetensors")
                self.report.event("checkpoint", step=step)

            result = unlearn_.unlearn(
                self.adapters, self.region, self._part("unlearn", "train"), self._part("retention", "train"), watched, c,
                pad=self.pad, seed=self.config.seed, report=self.report, save=save,
            )  # fmt: skip
            store.write_json(folder / "unlearn.json", {**asdict(result), "split": split})
            (folder / "after").mkdir()
            adapters_.write_tensors(self._region_tensors(), folder / "after" / "region.safetensors")
            shutil.copytree(self.run.path / "checkpoints", folder / "checkpoints")

        key = digest(
            self.base_key, self.adapters.hash("before"), self.corpus.fingerprint(), self.region, c, c.method.name, never,
            self.config.data.max_tokens,
        )  # fmt: skip
        try:
            reused = self._cached("unlearn", key, produce)
        except Cancelled:
            self._keep_partial()
            raise
        if reused:
            self.adapters.copy("before", "after")
            self.adapters.set("after", adapters_.read_tensors(self.run.path / "after" / "region.safetensors"))
            unlearn_.verify(self.adapters, self.region)
        return reused

    def _keep_partial(self) -> None:
        """Make the last checkpoint, or what there is after the last step, the cancelled run's result."""
        (self.run.path / "after").mkdir(exist_ok=True)
        adapters_.write_tensors(self._region_tensors(), self.run.path / "after" / "region.safetensors")

    def _region_tensors(self) -> dict[str, torch.Tensor]:
        return {name: self.adapters.tensor("after", name).detach() for name in self.region}

    def _answers(self) -> bool:
        def produce(folder: Path) -> None:
            store.write_json(
                folder / "after.json",
                {
                    "answers": self.voices.ask(self.adapters, ["after"]),
                    "general": self.voices.general(self.adapters, ["after"]),
                },
            )

        key = digest(
            self.base_key, self.adapters.hash("after"), self.corpus.fingerprint(), self.config.answers, general_lines()
        )
        reused = self._cached("answers", key, produce)
        after = json.loads((self.run.path / "after.json").read_text(encoding="utf-8"))
        for part in ("answers", "general"):
            self.recorded[part] |= after[part]
        rows = []
        for example in self.corpus.examples:
            voices = {v: texts[example.id] for v, texts in self.recorded["answers"].items() if example.id in texts}
            rows.append(json.dumps({"example": example.id, **_public(example), **voices}, ensure_ascii=False))
        store.write_text(self.run.path / "answers.jsonl", "\n".join(rows) + "\n")
        return reused

    def _evaluate(self) -> bool:
        def produce(folder: Path) -> None:
            self.voices.score(self.adapters, ["after"]).to_parquet(folder / "after.parquet")

        key = digest(
            self.base_key, self.adapters.hash("after"), self.corpus.fingerprint(), self.config.evaluate,
            self.config.data.max_tokens,
        )  # fmt: skip
        reused = self._cached("evaluate", key, produce)
        after = pd.read_parquet(self.run.path / "after.parquet")
        tokens = self.reference.merge(after.drop(columns=["token", "text"]), on=["example", "position"], validate="1:1")
        places = pd.DataFrame([{"example": e.id, "scope": e.scope, "split": e.split} for e in self.corpus.examples])
        tokens = tokens.merge(places, on="example", validate="m:1")
        tokens.to_parquet(self.run.path / "tokens.parquet")
        evidence = Evidence(
            self.corpus.examples, tokens, self.recorded["answers"], self.recorded["general"], self.voices.lexicon(),
            {} if self.taught else {"never": NOT_TAUGHT},
        )  # fmt: skip
        scores = {name: {"unit": m.unit, **asdict(m.compute(evidence))} for name, m in METRICS.items()}
        store.write_json(self.run.path / "metrics.json", clean({"format": FORMAT, "metrics": scores}))
        for name in ("reference.parquet", "reference.json", "after.parquet", "after.json"):
            (self.run.path / name).unlink(missing_ok=True)  # now contained in tokens, answers and metrics
        return reused

    # -- shared pieces ----------------------------------------------------------------------------------------------

    def _cached(self, stage: str, key: str, produce: Callable[[Path], None]) -> bool:
        self.keys[stage] = key
        return store.cached(self.folder, stage, key, self.run, produce)

    def _part(self, scope: str, split: str | None = None) -> list[Encoded]:
        return [self.voices.encoded[e.id] for e in self.corpus.select(scope, split)]

    def _words(self) -> torch.Tensor:
        special = set(self.loaded.tokenizer.all_special_ids)
        return torch.tensor([i for i in range(len(self.loaded.tokenizer)) if i not in special])

    def _parameters(self) -> int:
        return sum(p.numel() for name, p in self.loaded.model.named_parameters() if "lora_" not in name)

    def _accuracy(self, voice: str, scope: str, split: str) -> float:
        ids = [e.id for e in self.corpus.select(scope, split)]
        return token_accuracy(self.reference, voice, ids)

    def _write_manifest(self) -> None:
        import peft
        import transformers

        files = {
            str(p.relative_to(self.run.path)): models.sha256(p)
            for p in sorted(self.run.path.rglob("*"))
            if p.is_file() and p.name not in STILL_OPEN and p.name[0] != "."
        }
        versions = {"python": sys.version.split()[0], "torch": torch.__version__}
        versions |= {"transformers": transformers.__version__, "peft": peft.__version__}
        self.manifest |= {
            "format": FORMAT,
            "model": {"name": self.loaded.name, "note": self.loaded.note, "weights": self.loaded.files},
            "data": {"source": self.corpus.source, "fingerprint": self.corpus.fingerprint()},
            "adapters": {"before": self.adapters.hash("before"), "after": self.adapters.hash("after")},
            "seed": self.config.seed,
            "device": str(self.adapters.device),
            "dtype": self.dtype,
            "versions": versions,
            "files": files,
        }
        store.write_json(self.run.path / "manifest.json", self.manifest)


WATCHED = 24
"""examples of each scope on which the unlearning loop measures itself"""


def digest(*parts: Any) -> str:
    """Return a short hash of plain values and dataclasses; the key of a cached stage."""
    plain = [{"class": type(p).__name__, **asdict(p)} if dataclasses.is_dataclass(p) else p for p in parts]  # type: ignore[arg-type]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:20]


def token_accuracy(tokens: pd.DataFrame, voice: str, ids: Sequence[str]) -> float:
    """Return the answer-token accuracy (%) of some examples from a token table."""
    mine = tokens[tokens["example"].isin(set(ids))]
    return 100.0 * float((mine[f"rank_{voice}"] == 1).groupby(mine["example"]).mean().mean())


def preflight(corpus: Corpus, tokens: pd.DataFrame, answers: dict[str, str]) -> dict[str, Any]:
    """Say what the model knows: accuracy per scope and split, and how many facts of U-train its answers contain."""
    accuracy = {
        f"{scope}/{split}": token_accuracy(tokens, "before", [e.id for e in part])
        for scope in data.SCOPES
        for split in data.SPLITS
        if (part := corpus.select(scope, split))
    }
    known = asked = 0
    for example in corpus.select("unlearn", ("train", "dev")):
        wanted = facts.facts(example.answer, example.subject)
        asked += len(wanted)
        known += sum(facts.contains(answers[example.id], fact) for fact in wanted)
    share = 100.0 * known / asked if asked else None
    return {"accuracy": accuracy, "facts": {"known": known, "asked": asked, "share": share}}


def peak_memory_mb() -> int:
    """Return the process's peak resident memory in MB (macOS counts in bytes, Linux in kB)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))


def _smaller(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _public(example: Example) -> dict[str, str]:
    fields = ("question", "answer", "scope", "split", "subject")
    return {"truth" if f == "answer" else f: getattr(example, f) for f in fields}
