"""What the voices of a run say and how it is scored: before and never first, after when it is unlearned.

Preflight records before, and never where there is such a model; answers and evaluate record after. Then what was
recorded of all voices becomes the run's files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from core.data.corpus import Example
from core.metrics import evaluation
from core.pipeline import preflight
from core.pipeline.extras import Extras
from core.pipeline.state import State
from core.pipeline.voices import without_ends
from core.runs.askable import NOT_TAUGHT
from core.runs.store import Run
from core.runs.voices import VOICE
from core.util import files
from core.util.errors import UserError

EXTRAS = ("choices", "wrong", "kl", "wrong_texts", "left_out", "unseen")
"""parts of recorded.json that the extras of some voices are"""


def reference(state: State, folder: Path) -> None:
    """Ask and score before and never."""
    record(state, reference_voices(state), folder, "reference")


def found_reference(state: State, run: Run, folder: Path) -> None:
    """Take what before and never say from a run that asked the same."""
    recorded_by(run, state, reference_voices(state), folder, "reference")


def reference_voices(state: State) -> list[str]:
    """Return which voices are recorded before anything is unlearned."""
    return ["before", "never"] if state.has_never else ["before"]


def record(state: State, voices: Sequence[str], folder: Path, name: str) -> None:
    """Score and ask some voices; write their scores to NAME.parquet and what they say to NAME.json."""
    state.spoken.score(state.adapters, voices).to_parquet(folder / f"{name}.parquet")
    answers = state.spoken.ask(state.adapters, voices)
    general = state.voices.general(state.adapters, voices)
    also = extras(state, voices, folder, state.spoken.examples)
    files.write_json(folder / f"{name}.json", {"answers": answers, "general": general, "extras": also})


def recorded_by(run: Run, state: State, voices: Sequence[str], folder: Path, name: str) -> None:
    """Write the files of `record` out of what another run recorded of the same voices, asked in the same way.

    Raises UserError where that run asked fewer questions, other ones, or recorded less of them.
    """
    known, asked, with_extras = evaluation.spoken(run).only(voices), state.spoken, state.config.evaluate.extras
    tokens, general, unseen = known.tokens, known.parts.get("general"), known.unseen if with_extras else None
    also = {part: known.parts.get(part) for part in EXTRAS} if with_extras else {}
    answer_tokens = [(e.id, token) for e in asked.examples for token in asked.encoded[e.id].answer]
    questions = [e.id for e in (*asked.examples, *asked.besides)]
    complete = (
        [*zip(tokens["example"], tokens["token"], strict=True)] == answer_tokens
        and {voice: list(texts) for voice, texts in known.answers.items()} == dict.fromkeys(voices, questions)
        and None not in (general, *also.values())
        and with_extras == (unseen is not None)
    )
    if not complete:
        raise UserError("it did not record all that is asked here.", "")
    tokens.drop(columns=["scope", "split"]).to_parquet(folder / f"{name}.parquet")
    if unseen is not None:
        unseen.to_parquet(folder / f"unseen-{voices[0]}.parquet")
    files.write_json(folder / f"{name}.json", {"answers": known.answers, "general": general, "extras": also})


def take_reference(state: State, _: str) -> None:
    """Read what was recorded. Raises UserError where the model does not know what it is to forget."""
    state.reference = pd.read_parquet(state.run.path / "reference.parquet")
    state.recorded = json.loads((state.run.path / "reference.json").read_text(encoding="utf-8"))
    knowledge = preflight.knowledge(
        state.spoken.examples, state.reference, state.recorded["answers"]["before"], state.spoken.within()
    )
    files.write_json(state.run.path / "preflight.json", knowledge)
    state.report.event("preflight", **knowledge)
    preflight.check(knowledge, state.config)


def answers(state: State, folder: Path) -> None:
    """Ask after."""
    texts = state.asked.ask(state.adapters, ["after"])
    general = state.voices.general(state.adapters, ["after"])
    files.write_json(folder / "after.json", {"answers": texts, "general": general})


def take_answers(state: State, _: str) -> None:
    """Put all voices' answers side by side: answers.jsonl."""
    after = json.loads((state.run.path / "after.json").read_text(encoding="utf-8"))
    for part in ("answers", "general"):
        state.recorded[part] |= after[part]
    evaluation.write_answers(state.run, _questions(state), state.recorded["answers"])


def _questions(state: State) -> list[Example]:
    return [*state.corpus.examples, *state.spoken.besides]


def scores(state: State, folder: Path) -> None:
    """Score after."""
    state.asked.score(state.adapters, ["after"]).to_parquet(folder / "after.parquet")
    also = extras(state, ["after"], folder, state.asked.examples)
    files.write_json(folder / "after-extras.json", also)


def take_scores(state: State, _: str) -> None:
    """Put all voices' scores side by side (tokens.parquet), and compute the metrics."""
    if not state.group.is_main:
        return
    folder, recorded = state.run.path, state.recorded
    tokens = evaluation.joined([state.reference, pd.read_parquet(folder / "after.parquet")])
    also = json.loads((folder / "after-extras.json").read_text(encoding="utf-8"))
    parts = [f"unseen-{voice}.parquet" for voice in ("before", VOICE, "after") if voice in recorded["answers"]]
    unseen = [pd.read_parquet(folder / part) for part in parts] if state.config.evaluate.extras else []
    evaluation.Spoken(
        evaluation.placed(tokens, state.spoken.examples),
        recorded["answers"],
        evaluation.merged(recorded["extras"], also)
        | {"general": recorded["general"], "missing": {} if state.has_never else {"never": NOT_TAUGHT}}
        | without_ends(state.config),
        evaluation.known_words(recorded["answers"].values(), state.voices.lexicon()),
        evaluation.joined(unseen) if unseen else None,
    ).write(state.run, _questions(state))
    for name in ("reference.parquet", "reference.json", "after.parquet", "after.json", "after-extras.json", *parts):
        (folder / name).unlink(missing_ok=True)  # now contained in tokens, answers and recorded


def extras(state: State, voices: Sequence[str], folder: Path, examples: Sequence[Example]) -> dict[str, Any]:
    """Record the extras of some voices, unless they are switched off; their table goes into the folder."""
    if not state.config.evaluate.extras:
        return {}
    recorder = Extras(state.voices, state.corpus, examples)
    judged, table = recorder.record(state.adapters, voices)
    table.to_parquet(folder / f"unseen-{voices[0]}.parquet")
    return judged | recorder.material()
