"""The model that never saw what is to be forgotten: taught everything else, it is the reference of every score.

Two stages of a run that teaches: `RETRAIN` teaches it, `REFERENCE` records what it says. Both are shared by runs of the same
data. A finished run that lacks it goes through the same two (`execute`); none of its files is changed before everything is
recorded, then they are replaced one by one, each whole.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from core.data.corpus import Example
from core.metrics import evaluation
from core.metrics.evaluation import Spoken
from core.models import adapter_files, merging
from core.models.adapters import Adapters
from core.pipeline import evaluate, inputs, model_before
from core.pipeline.stage import Stage, perform, timed
from core.pipeline.state import State
from core.runs import manifest
from core.runs.store import Run
from core.runs.summary import summary
from core.runs.voices import VOICE
from core.util import files


def _taught_without(state: State, folder: Path) -> None:
    """Teach a fresh adapter as the run was taught, but on nothing that it forgets.

    That is the retention scope, and of a run that forgets some subjects only, also what others have to forget.
    """
    adapters, forgotten = with_fresh(state), frozenset(e.id for e in state.corpus.select("unlearn"))
    result = model_before.teach_adapter(state, adapters, VOICE, forgotten)
    adapters.save(VOICE, folder / VOICE, state.config.model.name)
    files.write_json(folder / f"{VOICE}.json", asdict(result))


def with_fresh(state: State) -> Adapters:
    """Return the run's adapters with a fresh one for this voice."""
    state.adapters.fresh(VOICE, "before", state.config.seed + 1)
    state.adapters.unmerged.add(VOICE)  # it is taught on the base as it was
    return state.adapters


def _take(state: State, _: str) -> None:
    with_fresh(state).set(VOICE, adapter_files.read_adapter(state.run.path / VOICE))


RETRAIN = Stage(
    "retrain",
    _taught_without,
    inputs=(
        inputs.taught_data,
        inputs.max_tokens,
        inputs.teaching,
        inputs.kept,
        inputs.forgotten_subjects,
        inputs.micro_batches,
    ),
    code=1,
    reads=("adapters",),
    writes=(VOICE, f"{VOICE}.json"),
    take=_take,
    on_bare_base=True,
)


SAID = f"{VOICE}-said"
"""name of the files with what it says, until they are put beside those of before and never"""


def _recorded(state: State, folder: Path) -> None:
    """Ask and score it."""
    evaluate.record(state, [VOICE], folder, SAID)


def _found(state: State, run: Run, folder: Path) -> None:
    """Take what it says from a run that asked the same."""
    evaluate.recorded_by(run, state, [VOICE], folder, SAID)


def _take_recorded(state: State, _: str) -> None:
    """Put it beside before and never."""
    path = state.run.path
    state.reference = evaluation.joined([state.reference, pd.read_parquet(path / f"{SAID}.parquet")])
    said = json.loads((path / f"{SAID}.json").read_text(encoding="utf-8"))
    state.recorded = {
        "answers": state.recorded["answers"] | said["answers"],
        "general": state.recorded["general"] | said["general"],
        "extras": evaluation.merged(state.recorded["extras"], said["extras"]),
    }
    for name in (f"{SAID}.parquet", f"{SAID}.json"):
        (path / name).unlink()  # in the state, and soon in tokens, answers and recorded


REFERENCE = Stage(
    "reference",
    _recorded,
    inputs=(
        inputs.retrained,
        inputs.before,
        inputs.data,
        inputs.answering,
        inputs.scoring,
        inputs.max_tokens,
        inputs.own_material,
        inputs.sampling,
    ),
    code=1,
    reads=("adapters", "reference", "recorded"),
    leaves=("reference", "recorded"),
    writes=(f"{SAID}.parquet", f"{SAID}.json", f"unseen-{VOICE}.parquet"),
    found=_found,
    take=_take_recorded,
)


# -- beside the voices of a finished run -----------------------------------------------------------------------------


def execute(state: State) -> dict[str, Any]:
    """Teach, record, write; return the run's summary."""
    started = time.monotonic()
    state.adapters = merging.load(state.loaded.model, state.dtype, state.run.path)
    timed("teach", state.run, state.report, partial(perform, RETRAIN, state))
    last = timed("evaluate", state.run, state.report, partial(_add, state))
    entry = {**last, "key": state.keys[RETRAIN.name], "seconds": round(time.monotonic() - started, 2)}
    manifest.renew(state.run, {"reference": entry}, {VOICE: state.adapters.hash(VOICE)})
    return summary(state.run)


def _add(state: State) -> str:
    """Record the voice, and put it beside those that the run has."""
    run, asked, adapters = state.run, state.asked, state.adapters
    before = evaluation.spoken(run)
    answers = asked.ask(adapters, [VOICE])
    parts: dict[str, Any] = {"general": state.voices.general(adapters, [VOICE])}
    unseen = None
    if before.unseen is not None:
        parts |= evaluate.extras(state, [VOICE], run.path, asked.examples)
        path = run.path / f"unseen-{VOICE}.parquet"
        unseen = pd.read_parquet(path)
        path.unlink()
    words = evaluation.known_words(answers.values(), state.voices.lexicon())
    mine = Spoken(asked.score(adapters, [VOICE]), answers, parts, words, unseen)
    before.beside(mine).write(run, [Example.of_row(row) for row in run.answers()])
    return ""
