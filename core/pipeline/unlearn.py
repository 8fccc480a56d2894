"""The unlearn stage: what the method trains on, the update loop, and which checkpoint becomes the model after."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from core.data import refusals, wordings
from core.data.corpus import SCOPES, Example
from core.data.everyday import prompts
from core.data.invented import about_others
from core.data.widened_questions import WidenedQuestions
from core.methods.base import REFUSAL
from core.metrics import accuracy
from core.models import adapter_files, kept_texts
from core.models.adapters import rank_of, widened
from core.models.kept_texts import Kept
from core.models.micro_batches import MicroBatches
from core.models.tokens import Encoded
from core.pipeline import unlearn_loop, watched_questions, widened_answers
from core.pipeline.state import State
from core.pipeline.supply import Supply, spread
from core.pipeline.unlearn_loop import Watched
from core.pipeline.weight_changes import changes
from core.runs import askable, picked_step, store
from core.runs.askable import NOT_TAUGHT
from core.util import files
from core.util.errors import Cancelled

WATCHED = 24
"""examples of each scope on which the unlearning loop measures itself"""
EVERY = 8
"""of everyday prompts and of general text every so many-th is used: no short course sees more"""


def gather(state: State) -> None:
    """Choose the examples on which unlearning measures itself, and bring together what the method trains on."""
    sample = watched_sample(state)
    never = accuracy.mean(state.reference, "never", [m.id for m in sample["unlearn"]]) if state.has_never else None
    if state.config.unlearn.stop == "never-taught" and never is None:
        state.report.event("finding", text=f"Unlearning makes all its steps: {NOT_TAUGHT}.")
    kept = accuracy.mean(state.reference, "before", [m.id for m in sample["retention"]])
    state.watched = Watched(sample["unlearn"], sample["retention"], never, kept)
    state.supply = supply(state, state.further)


def watched_split(state: State) -> str:
    """Return on which split unlearning measures itself: dev where both scopes have some, else train."""
    return "dev" if all(state.corpus.select(scope, "dev") for scope in SCOPES) else "train"


def watched_sample(state: State) -> dict[str, list[Encoded]]:
    """Return a fixed sample of each scope's examples on that split."""
    of = {scope: state.corpus.select(scope, watched_split(state)) for scope in SCOPES}
    return {scope: spread(state.voices.encode(examples, later=True), WATCHED) for scope, examples in of.items()}


def supply(state: State, further: WidenedQuestions | None) -> Supply:
    """Return what the method trains on: both scopes, widened by the answers to further questions, and what it needs."""
    method, voices = state.method, state.voices
    more = widened_answers.widened(state, further) if further else {}
    given = {scope: [*_in_other_words(state, state.corpus.select(scope, "train")), *more.get(scope, [])] for scope in SCOPES}
    unlearn, retention = (voices.encode(given[scope], later=True) for scope in SCOPES)
    refused = given["unlearn"] if REFUSAL in method.streams else []
    earlier = updates(state.config.teach.from_run, state.folder) if method.continues else ()
    answers = voices.encode(refusals.refused(refused, method.refusals), later=True)
    named = dict(zip((e.id for e in refused), answers, strict=True))
    invents = refused or method.follows == "invented"
    others = {key: other for key, other in about_others(given["unlearn"]).items() if voices.fits(other)} if invents else {}
    twins = dict(zip(others, voices.encode(list(others.values()), later=True), strict=True))
    return Supply(unlearn, retention, state.general_text, named, twins, state.words(), earlier)


def _in_other_words(state: State, examples: Sequence[Example]) -> list[Example]:
    """Return examples, then their copies in other words; one that says nothing new or is too long is left out."""
    known, copies = {e.question for e in examples}, list[Example]()
    declines = REFUSAL in state.method.streams
    for number in range(1, state.config.unlearn.reword + 1):
        for e in examples:
            source = random.Random(f"{state.config.seed}/{number}/{e.id}")
            again = dataclasses.replace(wordings.reworded(e, source), id=f"{e.id}/{number}")
            told = [again, *(refusals.refused([again], state.method.refusals) if declines else [])]
            if again.question not in known and all(map(state.voices.fits, told)):
                known.add(again.question)
                copies.append(again)
    return [*examples, *copies]


def updates(name: str, folder: Path) -> list[dict[str, torch.Tensor]]:
    """Return the updates (after − before, tensor by tensor) of a run and of all that it went on from, oldest first."""
    earlier: list[dict[str, torch.Tensor]] = []
    seen: set[str] = set()
    while name and name not in seen:
        seen.add(name)
        run = store.by_id(name, folder)
        before = adapter_files.read_adapter(run.path / "before")
        after = adapter_files.read_tensors(askable.unlearned(run))
        # Fresh rank that a run added is a part of its update.
        more = {cell: rank_of(cell, value) - rank_of(cell, before[cell]) for cell, value in after.items()}
        earlier.insert(0, {cell: value - widened(cell, before[cell], more[cell]) for cell, value in after.items()})
        name = run.config().teach.from_run
    return earlier


def unlearned(state: State, folder: Path) -> None:
    """Train the region until it is forgotten. A run that is cancelled keeps what it has until then."""
    config, split, checkpoints = state.config.unlearn, watched_split(state), state.run.path / "checkpoints"
    shutil.rmtree(checkpoints, ignore_errors=True)
    checkpoints.mkdir()

    def save(step: int, tensors: dict[str, torch.Tensor]) -> None:
        # Into the run at once: a run that is cancelled or killed keeps what it has.
        adapter_files.write_tensors(tensors, checkpoints / f"step-{step:05d}.safetensors")
        state.report.event("checkpoint", step=step)

    ask, judge = None, None
    if questions := watched_questions.choose(state.corpus, config.watch, split):
        ask = partial(watched_questions.Watch(questions, state.voices, state.config.answers).ask, state.adapters)
    if config.pick == "said":
        sample = {m.id for members in watched_sample(state).values() for m in members}
        among = [e for e in state.corpus.examples if e.id in sample]
        sampled = state.voices.of(among)
        judge = partial(watched_questions.said, sampled, state.adapters, sampled.lexicon())
    try:
        result = unlearn_loop.unlearn(
            state.adapters,
            state.region,
            state.supply,
            state.watched,
            dataclasses.replace(config, method=state.method),
            unlearn_loop.Callbacks(state.report, save, ask, judge),
            seed=state.config.seed,
            everyday=everyday(state),
            micro=MicroBatches.of(state.config.model, state.report),
        )
    except Cancelled:
        if "after" in state.adapters.names and state.adapters.moved():  # before a first step there is nothing to keep
            write_after(state, state.run.path)
        raise
    files.write_json(folder / "unlearn.json", {**asdict(result), "split": split})
    write_after(state, folder)
    shutil.copytree(checkpoints, folder / "checkpoints")


def everyday(state: State) -> list[Kept]:
    """Return the texts on which a method that teaches to decline is held to before; none for other methods.

    A third of them are questions of U about subjects that do not exist: whom not knowing is about is a part of it. They are
    answered by before, not by U's answers about others: what follows a fact's first word is the fact, whoever it is said of.
    """
    if REFUSAL not in state.method.streams or not state.config.unlearn.everyday_weight:
        return []
    tokenizer, room = state.loaded.tokenizer, state.voices.room
    general = kept_texts.general(tokenizer, room, EVERY)
    others = spread([*state.supply.invented.values()], (len(general) + len(prompts(EVERY))) // 2)
    return [
        *general,
        *kept_texts.own_answers(
            state.adapters,
            tokenizer,
            state.config.model.template,
            room,
            state.report.check,
            voice="before",
            every=EVERY,
            further=others,
        ),
    ]


def take_unlearned(state: State, source: str) -> None:
    """Put the adapter "after" on the model where it is not there already; of a chosen checkpoint where there is one."""
    if source or not state.group.is_main:
        state.adapters.copy("before", "after")
        state.adapters.set("after", adapter_files.read_tensors(state.run.path / "after" / "region.safetensors"))
        _verify(state)
    if step := state.config.unlearn.result_step:
        _take_checkpoint(state, step)


def _verify(state: State, step: int = 0) -> None:
    """Check that exactly the region changed, but for tensors that had not moved at a step, or at the kept one."""
    record = json.loads((state.run.path / "unlearn.json").read_text(encoding="utf-8"))
    idle = unlearn_loop.still(record.get("idle", []), record.get("late", {}), step or record["step"])
    unlearn_loop.verify(state.adapters, state.region, idle)


def _take_checkpoint(state: State, step: int) -> None:
    """Make another checkpoint the result, as somebody chose."""
    folder = state.run.path
    state.adapters.copy("before", "after")
    state.adapters.set("after", adapter_files.read_tensors(askable.checkpoint(state.run, step)))
    _verify(state, step)
    for name in ("after/region.safetensors", "changes.parquet"):
        (folder / name).unlink()  # one file with the cache's, which must stay as it is
    write_after(state, folder)
    record = json.loads((folder / "unlearn.json").read_text(encoding="utf-8"))
    stopped = picked_step.words(step, record["step"], state.config.unlearn.picked_on)
    if str(record.get("stopped", "")).startswith("diverged"):
        stopped = f"{record['stopped']}; {stopped}"
    files.write_json(folder / "unlearn.json", {**record, "step": step, "stopped": stopped})


def write_after(state: State, folder: Path) -> None:
    """Write the region's tensors and what changed in them; of a cancelled run those of its last step."""
    (folder / "after").mkdir(exist_ok=True)
    tensors = {name: state.adapters.tensor("after", name).detach() for name in state.region}
    adapter_files.write_tensors(tensors, folder / "after" / "region.safetensors")
    changes(state.adapters).to_parquet(folder / "changes.parquet")
