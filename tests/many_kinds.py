"""A finished run that was asked every kind of question by every voice, made of a bundled one: its files alone, no model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from core.data.corpus import UNKNOWN
from core.data.everyday import examples
from core.metrics import evaluation
from core.runs import store
from core.runs.store import Run
from core.runs.voices import VOICE

SPLITS = {0: "free", 1: "untaught", 2: "train"}
"""what every so many-th of six train questions becomes; those of the third and of U are told nowhere"""
DECLINES = "I do not know that."


def make(target: Path) -> Run:
    """Copy the bundled run on the privacy demo and ask it otherwise; its scores are computed from the new files."""
    source = next(run for run in store.bundled_runs() if run.id == "privacy-memflex")
    left_out = shutil.ignore_patterns("before", "after", "checkpoints", "probes", "manifest.json")
    shutil.copytree(source.path, target, ignore=left_out)
    run = Run(target)
    rows = [row for row in source.answers() if row["scope"] in ("unlearn", "retention")]
    train = {row["example"]: number % 6 for number, row in enumerate(r for r in rows if r["split"] == "train")}
    for row in rows:
        moved(row, train.get(row["example"], -1))
    besides = [
        {"example": e.id, "question": e.question, "truth": e.answer, "scope": e.scope, "split": "", "subject": "", **said}
        for e in examples()
        for said in [dict.fromkeys(("before", "after", "never", VOICE), e.answer or DECLINES)]
    ]
    (target / "answers.jsonl").write_text("\n".join(json.dumps(row) for row in (*rows, *besides)) + "\n", encoding="utf-8")
    tokens = source.table("tokens")
    assert tokens is not None
    about = {row["example"]: row for row in rows}
    tokens = tokens[tokens["example"].isin(set(about))]
    for column in ("scope", "split"):
        tokens = tokens.assign(**{column: [about[example][column] for example in tokens["example"]]})
    for name in ("logprob", "rank"):
        forgotten = tokens["scope"] == "unlearn"
        tokens[f"{name}_{VOICE}"] = tokens[f"{name}_never"].where(forgotten, tokens[f"{name}_before"])
    tokens.to_parquet(target / "tokens.parquet")
    evaluation.measure(run)
    return run


def moved(row: dict[str, Any], number: int) -> None:
    """Make a row one of another kind, in place; number: of the train questions modulo six, -1 for all others."""
    row["split"] = SPLITS.get(number, row["split"])
    row[VOICE] = row["never"] if row["scope"] == "unlearn" else row["before"]
    if row["split"] == "val":
        row["kind"] = "other"
    if number == 2 and row["scope"] == "unlearn":
        row |= {"scope": UNKNOWN, "truth": DECLINES, "before": DECLINES, VOICE: DECLINES}
