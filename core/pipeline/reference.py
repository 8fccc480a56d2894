"""Teach all but what a run was to forget, and record what that model says beside the run's other voices.

None of the run's files is changed before everything is recorded; then they are replaced one by one, each whole.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from core.data.corpus import SCOPES
from core.metrics import evaluation
from core.models import adapter_files, merging
from core.pipeline import teach as teach_
from core.pipeline.pipeline import Pipeline
from core.runs import manifest
from core.runs.summary import summary
from core.runs.voices import VOICE
from core.util import failures, files
from core.util.progress import peak_memory_mb


class Retraining(Pipeline):
    """A pipeline on a finished run: two stages of its own, and the run's files with one voice more."""

    def go(self) -> dict[str, Any]:
        """Teach, record, write; return the run's summary."""
        steps: dict[str, Callable[[], str]] = {"teach": self._without, "evaluate": self._add}
        started = time.monotonic()
        for name, step in steps.items():
            began = time.monotonic()
            self.report.stage(name, "running")
            try:
                source = step()
            except OSError as error:
                raise failures.disk_error(self.run.path, error) from error
            self.report.stage(name, "reused" if source else "done", seconds=time.monotonic() - began, source=source)
        stage = {
            "key": self.keys["retrained"],
            "seconds": round(time.monotonic() - started, 2),
            "reused": False,
            "source": "",
            "peak_memory_mb": peak_memory_mb(),
        }
        manifest.renew(self.run, {"reference": stage}, {VOICE: self.adapters.hash(VOICE)})
        return summary(self.run)

    def _without(self) -> str:
        """Teach a fresh adapter as the run was taught, but on nothing that it forgets; or take it from the cache.

        That is the retention scope, and of a run that forgets some subjects only, also what others have to forget.
        """
        forgotten = {example.id for example in self.corpus.select("unlearn")}

        def produce(folder: Path) -> None:
            adapters = self._attach()
            others, retention = (
                self.voices.encode([e for e in self.whole.select(scope) if e.id not in forgotten]) for scope in SCOPES
            )
            result = teach_.teach(
                adapters,
                others,
                retention,
                self.config.teach,
                pad=self.pad,
                seed=self.config.seed,
                report=self.report,
            )
            adapters.save("before", folder / VOICE, self.config.model.name)
            files.write_json(folder / f"{VOICE}.json", asdict(result))
            adapters.release()

        return self._cached("retrained", self.teach_key("retention only", *self.config.data.forget), produce)

    def _add(self) -> str:
        """Record the voice, and add it to the run's files and metrics."""
        self.adapters = merging.load(self.loaded.model, self.dtype, self.run.path)
        self.adapters.copy("before", VOICE)
        self.adapters.set(VOICE, adapter_files.read_adapter(self.run.path / VOICE))
        self.adapters.unmerged.add(VOICE)  # it was taught on the base as it was
        old = evaluation.evidence(self.run)
        table = self.asked.score(self.adapters, [VOICE])
        answers = self.asked.ask(self.adapters, [VOICE])
        also: dict[str, Any] = {"general": self.voices.general(self.adapters, [VOICE])}
        unseen = None
        if old.unseen is not None:
            also |= self._extras([VOICE], answers, self.run.path, self.asked.examples)
            path = self.run.path / f"unseen-{VOICE}.parquet"
            unseen = evaluation.joined([_without_voice(old.unseen), pd.read_parquet(path)])
            path.unlink()
        recorded = evaluation.merged(self.run.json("recorded.json"), also)
        recorded["words"] = sorted({*recorded["words"], *evaluation.known_words(answers.values(), self.voices.lexicon())})
        mine = answers[VOICE]
        rows = [row | ({VOICE: mine[row["example"]]} if row["example"] in mine else {}) for row in self.run.answers()]
        files.replace(self.run.path / "tokens.parquet", evaluation.joined([_without_voice(old.tokens), table]))
        files.write_text(
            self.run.path / "answers.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        )
        evaluation.write(self.run, recorded, unseen)
        return ""


def _without_voice(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without what an earlier making of the same voice had put into it."""
    return table.drop(columns=[name for name in table.columns if name.endswith(f"_{VOICE}")])
