"""Runs whose model answers slowly, or differently from each other: copies of a finished tiny run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from core.runs.store import Run
from tests.tiny import SETTINGS


def talkative(run: Run, runs: Path, tokens: int) -> Run:
    """Return a copy of a run of a tiny Llama that answers with so many tokens: its context is made long enough."""
    copy = Run(runs / f"{run.id}-talkative")
    shutil.copytree(run.path, copy.path)
    model = runs.parent / "talkative"
    shutil.copytree(run.config().model.name, model)
    settings = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(
        json.dumps(settings | {"max_position_embeddings": tokens + SETTINGS["llama"]["max_position_embeddings"]})
    )
    run.config().with_setting("model.name", str(model)).with_setting("answers.max_new_tokens", tokens).save(
        copy.path / "config.json"
    )
    return copy
