"""What a stage's files can depend on, by name: each returns the values that enter its key (see core/pipeline/stage.py).

Keys of runs that were made long ago must stay as they are, so a setting that came later enters only where it is not what
it was before it came.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from core.config.stages import KNOWUNDO
from core.methods.base import REFUSAL
from core.models import kept_texts
from core.pipeline import evaluate, extras
from core.pipeline.stage import settings
from core.pipeline.state import State
from core.pipeline.voices import general_lines
from core.runs.voices import VOICE


def _since(config: Any, later: Sequence[str], *, without: Sequence[str] = ()) -> dict[str, Any]:
    """Return settings as they enter a key; later: those that came later, left out where they are what it was before."""
    usual = type(config)()
    return settings(config, without=[*without, *(name for name in later if getattr(config, name) == getattr(usual, name))])


def taught_data(state: State) -> Sequence[Any]:
    """Return everything that is taught."""
    return [state.whole.taught().fingerprint()]


def data(state: State) -> Sequence[Any]:
    """Return the examples of both scopes, and which of them are held out."""
    return [state.corpus.fingerprint()]


def max_tokens(state: State) -> Sequence[Any]:
    """Return how long an example may be."""
    data = state.config.data
    return [data.max_tokens, *([["later", data.later_tokens]] if data.later_tokens else [])]


def before(state: State) -> Sequence[Any]:
    """Return the adapter of the model before."""
    return [state.adapters.hash("before")]


def after(state: State) -> Sequence[Any]:
    """Return the adapter of the model after."""
    return [state.adapters.hash("after")]


def teaching(state: State) -> Sequence[Any]:
    """Return how it is taught; merging and going on from a run decide what is done with the adapter afterwards."""
    return [_since(state.config.teach, ("warmup", "weight_decay"), without=("merge", "from_run", "retrain"))]


def micro_batches(state: State) -> Sequence[Any]:
    """Return what batches are cut into: sums in another order are other bits. What layers keep changes none."""
    size = state.config.model.micro_batch
    return [["micro-batch", size]] if size else []


def kept(state: State) -> Sequence[Any]:
    """Return what the model is held to the base on while it is taught."""
    return [kept_texts.fingerprint()] if state.config.teach.keep_weight else []


def forgotten_subjects(state: State) -> Sequence[Any]:
    """Return what a model that was taught without it does not know."""
    return ["retention only", *state.config.data.forget]


def retrained(state: State) -> Sequence[Any]:
    """Return the adapter of the model that was taught without what is to be forgotten."""
    return [state.adapters.hash(VOICE)]


def reference_voices(state: State) -> Sequence[Any]:
    """Return which voices are recorded before anything is unlearned."""
    return [evaluate.reference_voices(state)]


def answering(state: State) -> Sequence[Any]:
    """Return how answers are generated, and behind which preface."""
    preface = state.config.evaluate.preface
    return [state.config.answers, *([["preface", preface]] if preface else [])]


def sampling(state: State) -> Sequence[Any]:
    """Return how sampled answers are drawn; greedy ones are the same however others are drawn."""
    return ["draws by question"] if state.config.answers.temperature else []


def scoring(state: State) -> Sequence[Any]:
    """Return how true answers are scored: not on which splits, since before and never are scored on all."""
    return [_since(state.config.evaluate, ("preface",), without=("splits",))]


def splits(state: State) -> Sequence[Any]:
    """Return on which questions after is asked and scored: of which splits, and how many."""
    return [state.config.evaluate.splits, state.config.evaluate.most]


def own_material(state: State) -> Sequence[Any]:
    """Return our own questions and texts, which the extras are recorded on."""
    own = [extras.fingerprint(state.config.data.subset), [(e.question, e.answer) for e in state.voices.besides]]
    return [*own, "as scored"] if state.voices.encoded is not state.voices.given else own


def besides(state: State) -> Sequence[Any]:
    """Return our own questions that after is asked as well."""
    asked = [(e.question, e.answer) for e in state.asked.besides]
    return [["besides", asked]] if asked else []


def general_text(_: State) -> Sequence[Any]:
    """Return the lines of the general text."""
    return [general_lines()]


def localizing(state: State) -> Sequence[Any]:
    """Return how gradients are taken."""
    cut = state.config.model.template == KNOWUNDO  # the last word of what was cut is drawn as well, since then
    return [_since(state.config.localize, ("seed_offset", "questions")), *(["cut"] if cut else [])]


def widening(state: State) -> Sequence[Any]:
    """Return how many questions are generated for each scope."""
    return [state.config.data.widen]


def batch_of_answers(state: State) -> Sequence[Any]:
    """Return how many answers are generated at once, where nothing else of answering matters."""
    return [state.config.answers.batch_size]


def region(state: State) -> Sequence[Any]:
    """Return the tensors that may change."""
    return [state.region]


def unlearning(state: State) -> Sequence[Any]:
    """Return method and steps; which of these is taken as the result changes none of them, and memory nothing but time.

    Who picks by what is said asks behind a preface, and greedily, which was not always so; nor did three methods always
    take their share of fresh rank alone.
    """
    plain = dataclasses.replace(state.config.unlearn, result_step=0, picked_on="")
    later = ("forgotten", "epochs", "mixed", "dropout", "clip")
    values = _since(plain, later, without=("prefix_memory",))
    later_ways = (
        [["preface", state.config.evaluate.preface]] if plain.pick == "said" and state.config.evaluate.preface else []
    )
    later_ways += [["greedy"]] if plain.pick == "said" and state.config.answers.temperature else []
    later_ways += [["of what moves"]] if plain.slots and plain.method.name in ("blade", "grail", "sure") else []
    if not getattr(plain.method, "relearning", 0.0):  # a setting of a method that came later
        values["method"].pop("relearning", None)
    return [values, plain.method.name, *later_ways]


def never_taught(state: State) -> Sequence[Any]:
    """Return how much of U the never-taught model knows, at which unlearning may stop."""
    return [state.watched.never_taught]


def answer_length(state: State) -> Sequence[Any]:
    """Return how long an answer may be."""
    return [state.config.answers.max_new_tokens]


def supply(state: State) -> Sequence[Any]:
    """Return what the method trains on."""
    everyday = state.config.unlearn.everyday_weight and REFUSAL in state.method.streams
    return [state.supply.fingerprint(), *([kept_texts.fingerprint()] if everyday else [])]
