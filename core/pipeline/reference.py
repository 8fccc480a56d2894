"""Teach all but what a run was to forget, and record what that model says beside the run's other voices.

A finished run's state goes through two steps of its own. None of the run's files is changed before everything is
recorded; then they are replaced one by one, each whole.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from core.data.corpus import SCOPES
from core.metrics import evaluation
from core.models import adapter_files, merging
from core.pipeline import evaluate, inputs, model_before, teach
from core.pipeline.pipeline import TEACH
from core.pipeline.stage import Stage, bring, timed
from core.pipeline.state import State
from core.runs import manifest
from core.runs.summary import summary
from core.runs.voices import VOICE
from core.util import files


def execute(state: State) -> dict[str, Any]:
    """Teach, record, write; return the run's summary."""
    started = time.monotonic()
    timed("teach", state.run, state.report, partial(bring, RETRAINED, state))
    last = timed("evaluate", state.run, state.report, partial(_add, state))
    entry = {**last, "key": state.keys[RETRAINED.name], "seconds": round(time.monotonic() - started, 2)}
    manifest.renew(state.run, {"reference": entry}, {VOICE: state.adapters.hash(VOICE)})
    return summary(state.run)


def _retrained(state: State, folder: Path) -> None:
    """Teach a fresh adapter as the run was taught, but on nothing that it forgets.

    That is the retention scope, and of a run that forgets some subjects only, also what others have to forget.
    """
    forgotten = {example.id for example in state.corpus.select("unlearn")}
    adapters = model_before.attach(state)
    others, retention = (
        state.voices.encode([e for e in state.whole.select(scope) if e.id not in forgotten]) for scope in SCOPES
    )
    result = teach.teach(
        adapters,
        others,
        retention,
        state.config.teach,
        seed=state.config.seed,
        report=state.report,
    )
    adapters.save("before", folder / VOICE, state.config.model.name)
    files.write_json(folder / f"{VOICE}.json", asdict(result))
    adapters.release()


RETRAINED = Stage(
    "retrained",
    _retrained,
    inputs=(*TEACH.inputs, inputs.forgotten_subjects),
    code=TEACH.code,
    writes=(VOICE, f"{VOICE}.json"),
    on_bare_base=True,
)


def _add(state: State) -> str:
    """Record the voice, and add it to the run's files and metrics."""
    run, asked = state.run, state.asked
    adapters = merging.load(state.loaded.model, state.dtype, run.path)
    adapters.copy("before", VOICE)
    adapters.set(VOICE, adapter_files.read_adapter(run.path / VOICE))
    adapters.unmerged.add(VOICE)  # it was taught on the base as it was
    state.adapters = adapters
    old = evaluation.evidence(run)
    table = asked.score(adapters, [VOICE])
    answers = asked.ask(adapters, [VOICE])
    also: dict[str, Any] = {"general": state.voices.general(adapters, [VOICE])}
    unseen = None
    if old.unseen is not None:
        also |= evaluate.extras(state, [VOICE], answers, run.path, asked.examples)
        path = run.path / f"unseen-{VOICE}.parquet"
        unseen = evaluation.joined([_without_voice(old.unseen), pd.read_parquet(path)])
        path.unlink()
    recorded = evaluation.merged(run.json("recorded.json"), also)
    recorded["words"] = sorted({*recorded["words"], *evaluation.known_words(answers.values(), state.voices.lexicon())})
    mine = answers[VOICE]
    rows = [row | ({VOICE: mine[row["example"]]} if row["example"] in mine else {}) for row in run.answers()]
    files.replace(run.path / "tokens.parquet", evaluation.joined([_without_voice(old.tokens), table]))
    files.write_text(run.path / "answers.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    # Metrics last: whoever reads the run meanwhile finds an answer of every voice that they name.
    evaluation.write(run, recorded, unseen)
    return ""


def _without_voice(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without what an earlier making of the same voice had put into it."""
    return table.drop(columns=[name for name in table.columns if name.endswith(f"_{VOICE}")])
