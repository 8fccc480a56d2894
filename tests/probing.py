"""What tests of probes share: a finished run of a tiny model, made without training."""

from __future__ import annotations

import json
from pathlib import Path

from core.config.run_config import RunConfig
from core.data import sources
from core.data.corpus import Example
from core.models import adapter_files
from core.runs import store
from core.runs.store import Run
from core.util import files
from tests.naive import make_bench, randomize
from tests.processes import quick


def answer_row(example: Example, **voices: str) -> str:
    """Return a line of answers.jsonl."""
    fields = {"example": example.id, "question": example.question, "truth": example.answer, "scope": example.scope}
    return json.dumps({**fields, "split": example.split, "subject": example.subject, **voices})


def make_run(model: Path, examples: Path, folder: Path, **changes: object) -> Run:
    """Return a run whose adapters before and after are random, and whose before said every truth and after every truth of
    R."""
    config: RunConfig = quick(model, examples, **changes)
    run = store.create(config, folder)
    made = make_bench(model, examples, rank=2).adapters
    made.save("before", run.path / "before", str(model))
    made.copy("before", "after")
    randomize(made, "after", seed=2, scale=0.3)
    (run.path / "after").mkdir()
    adapter_files.write_tensors(
        {name: p.detach() for name, p in made.tensors("after").items()}, run.path / "after" / "region.safetensors"
    )
    rows = [
        answer_row(
            e, before=e.answer, after=e.answer if e.scope == "retention" and "Orla" not in e.question else "", never="no"
        )
        for e in sources.load(config.data).examples
    ]
    files.write_text(run.path / "answers.jsonl", "\n".join(rows) + "\n")
    files.write_json(run.path / "status.json", {**store.fresh_status(), "state": "done"})
    return run
