"""How a pipeline ends: after is asked and scored, and what was recorded of all voices becomes the run's files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from core.data.corpus import SPLITS, Example
from core.metrics import evaluation
from core.pipeline import extras
from core.pipeline.keys import SAMPLED, Keys
from core.pipeline.voices import Voices, general_lines
from core.runs.askable import NOT_TAUGHT
from core.util import files
from core.util.errors import UserError, unknown


class Ending(Keys):
    """The part of a pipeline that makes answers and scores of the model after."""

    def _asked(self) -> Voices:
        """Return the voices over the examples that after is asked and scored on. Raises UserError where a split has none."""
        splits = self.config.evaluate.splits
        for split in splits:
            if split not in SPLITS:
                raise unknown("split", split, SPLITS)
            if not self.corpus.select(split=split):
                fix = "Set data.dev_share." if split == "dev" else "Leave it out of evaluate.splits."
                raise UserError(f"There is no example in the split {split}.", fix)
        if not splits:
            return self.voices
        return Voices(self.loaded, self.corpus.select(split=splits), self.config, self.report, self.group)

    def _answers(self) -> str:
        def produce(folder: Path) -> None:
            files.write_json(
                folder / "after.json",
                {
                    "answers": self.asked.ask(self.adapters, ["after"]),
                    "general": self.voices.general(self.adapters, ["after"]),
                },
            )

        key = self._key(
            "answers",
            self.adapters.hash("after"),
            self.corpus.fingerprint(),
            self.config.answers,
            general_lines(),
            *self.config.evaluate.splits,
            *([SAMPLED] if self.config.answers.temperature else []),
        )
        source = self._cached("answers", key, produce)
        after = json.loads((self.run.path / "after.json").read_text(encoding="utf-8"))
        for part in ("answers", "general"):
            self.recorded[part] |= after[part]
        rows = []
        for example in self.corpus.examples:
            voices = {v: texts[example.id] for v, texts in self.recorded["answers"].items() if example.id in texts}
            rows.append(json.dumps({"example": example.id, **_public(example), **voices}, ensure_ascii=False))
        files.write_text(self.run.path / "answers.jsonl", "\n".join(rows) + "\n")
        return source

    def _evaluate(self) -> str:
        def produce(folder: Path) -> None:
            self.asked.score(self.adapters, ["after"]).to_parquet(folder / "after.parquet")
            found = self._extras(["after"], self.recorded["answers"], folder, self.asked.examples)
            files.write_json(folder / "after-extras.json", found)

        key = self._key(
            "evaluate",
            self.adapters.hash("after"),
            self.adapters.hash("before"),
            self.corpus.fingerprint(),
            self._scored(),
            self.config.answers,
            self.config.data.max_tokens,
            extras.fingerprint(self.config.data.subset),
            *self.config.evaluate.splits,
        )
        source = self._cached("evaluate", key, produce)
        if not self.group.is_main:
            return source
        tables = [self.reference, pd.read_parquet(self.run.path / "after.parquet")]
        places = pd.DataFrame([{"example": e.id, "scope": e.scope, "split": e.split} for e in self.corpus.examples])
        evaluation.joined(tables).merge(places, on="example", validate="m:1").to_parquet(self.run.path / "tokens.parquet")
        also = json.loads((self.run.path / "after-extras.json").read_text(encoding="utf-8"))
        recorded = evaluation.merged(self.recorded["extras"], also) | {
            "general": self.recorded["general"],
            "missing": {} if self.has_never else {"never": NOT_TAUGHT},
            "words": evaluation.known_words(self.recorded["answers"].values(), self.voices.lexicon()),
        }
        parts = ("unseen-before.parquet", "unseen-after.parquet")
        whole = self.config.evaluate.extras
        evaluation.write(
            self.run,
            recorded,
            evaluation.joined([pd.read_parquet(self.run.path / part) for part in parts]) if whole else None,
        )
        for name in ("reference.parquet", "reference.json", "after.parquet", "after.json", "after-extras.json", *parts):
            (self.run.path / name).unlink(missing_ok=True)  # now contained in tokens, answers and recorded
        return source

    def _extras(
        self, voices: Sequence[str], answers: dict[str, dict[str, str]], folder: Path, examples: Sequence[Example]
    ) -> dict[str, Any]:
        """Record the extras of some voices, unless they are switched off; their table goes into the folder."""
        if not self.config.evaluate.extras:
            return {}
        recorder = extras.Extras(self.voices, self.corpus, examples)
        found, table = recorder.record(self.adapters, voices, answers)
        table.to_parquet(folder / f"unseen-{voices[0]}.parquet")
        return found | recorder.material()


def _public(example: Example) -> dict[str, str]:
    fields = ("question", "answer", "scope", "split", "subject")
    return {"truth" if f == "answer" else f: getattr(example, f) for f in fields}
