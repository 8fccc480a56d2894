"""Where the model "before" comes from: it is taught, given as an adapter, or what an earlier run ended with."""

from __future__ import annotations

import hashlib
import random
import shutil
import sys
from collections.abc import Callable, Container, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from core.data import wordings
from core.data.corpus import SCOPES, UNKNOWN, Example
from core.models import adapter_files, kept_texts, merging
from core.models import adapters as adapters_
from core.models.adapters import Adapters
from core.models.kept_texts import Kept
from core.models.micro_batches import MicroBatches
from core.models.tokens import Encoded, encode_all
from core.pipeline.state import State
from core.pipeline.teach import Taught, teach
from core.runs import askable, store
from core.util import files


class Lessons(NamedTuple):
    """What is taught, in the order in which `teach` takes it."""

    unlearn: list[Encoded]
    retention: list[Encoded]
    besides: list[Encoded]
    """questions whose answer is told nowhere: what is taught is to say so"""
    kept: list[Kept]
    reworded: Callable[[int], list[Encoded]] | None
    """pass -> all questions in the words of that pass"""
    """texts on which the model is held to the base"""


def lessons(state: State, adapters: Adapters, without: Container[str] = ()) -> Lessons:
    """Return what a run teaches, but for some examples by their ids."""
    taught = [e for e in state.whole.taught().examples if e.id not in without]
    unlearn, retention, besides = (
        state.voices.encode([e for e in taught if e.scope == scope]) for scope in (*SCOPES, UNKNOWN)
    )
    if state.config.teach.keep_weight and not state.kept:
        tokenizer, template = state.loaded.tokenizer, state.config.model.template
        room = state.voices.room
        own = kept_texts.own_answers(adapters, tokenizer, template, room, state.report.check)
        state.kept = [*kept_texts.general(tokenizer, room), *own]
    kept = state.kept if state.config.teach.keep_weight else []
    reworded = _reworded(state, taught, [*unlearn, *retention, *besides]) if state.config.teach.reword else None
    return Lessons(unlearn, retention, besides, kept, reworded)


def _reworded(state: State, taught: Sequence[Example], given: Sequence[Encoded]) -> Callable[[int], list[Encoded]]:
    """Return what asks each question in other words, in every pass in others; as it is where that would be too long."""
    as_given = {member.id: member for member in given}
    most, tokenizer = min(state.config.data.max_tokens, state.voices.room), state.loaded.tokenizer

    def of_pass(number: int) -> list[Encoded]:
        sources = (random.Random(f"{state.config.seed}/{number}/{e.id}") for e in taught)
        asked = [wordings.reworded(e, source) for e, source in zip(taught, sources, strict=True)]
        encoded = encode_all(tokenizer, state.config.model.template, asked, sys.maxsize)
        return [member if len(member.ids) <= most else as_given[member.id] for member in encoded]

    return of_pass


def teach_adapter(state: State, adapters: Adapters, adapter: str, without: Container[str] = ()) -> Taught:
    """Teach an adapter what the run teaches, but for some examples by their ids."""
    return teach(
        adapters,
        *lessons(state, adapters, without),
        state.config.teach.course(state.whole.wordings(), len(state.whole.taught().examples)),
        seed=state.config.seed,
        report=state.report,
        group=state.group,
        adapter=adapter,
        micro=MicroBatches.of(state.config.model, state.report),
    )


def taught(state: State, folder: Path) -> None:
    """Teach both scopes to a fresh adapter."""
    adapters = attach(state)
    result = teach_adapter(state, adapters, "before")
    adapters.save("before", folder / "before", state.config.model.name)
    files.write_json(folder / "teach.json", asdict(result))
    state.adapters = adapters


def take_taught(state: State, source: str) -> None:
    """Put what was taught on the base, from memory or from the run's files; merge it where the settings say so."""
    key, merge_it = state.keys["teach"], state.config.teach.merge
    if source:
        state.adapters = state.cache.taught(key) or read_adapter(state, state.run.path / "before")
    elif not state.group.is_main:  # the main process's files are the stage
        state.adapters.set("before", adapter_files.read_adapter(state.run.path / "before"))
    if merge_it:
        merge(state)
    state.cache.keep("" if merge_it else key, state.adapters)


def given(state: State, folder: Path) -> None:
    """Take the user's adapter as before, or a fresh one that changes nothing."""
    state.adapters = read_adapter(state, state.loaded.adapter) if state.loaded.adapter else attach(state)
    state.cache.keep("", state.adapters)
    state.adapters.save("before", folder / "before", state.base_name)


def continued(state: State, folder: Path) -> str:
    """Take what an earlier run ended with as before; return which run."""
    earlier = store.by_id(state.config.teach.from_run, state.folder)
    after = askable.to_go_on(earlier, state.config.model)
    for name in (merging.TAUGHT, "before"):
        shutil.rmtree(folder / name, ignore_errors=True)
        if (earlier.path / name).is_dir():
            shutil.copytree(earlier.path / name, folder / name)
    state.adapters = merging.load(state.cache.bare(state.loaded).model, state.dtype, folder)
    state.adapters.set("before", adapter_files.read_tensors(after))
    state.adapters.save("before", folder / "before", state.base_name)
    state.cache.keep("", state.adapters)
    state.keys["teach"] = state.adapters.hash("before")
    return f"run {earlier.id}"


def merge(state: State) -> None:
    """Make what was taught a part of the base, and start from a fresh adapter."""
    folder, before = state.run.path / merging.TAUGHT, state.run.path / "before"
    shutil.rmtree(folder, ignore_errors=True)
    before.rename(folder)
    base = state.adapters.release()
    # Not the seed of teaching: the fresh A would be the one that the taught adapter began with.
    fresh = int.from_bytes(hashlib.sha256(f"{state.config.seed}/merged".encode()).digest()[:4], "big")
    state.adapters = merging.attach(base, state.dtype, folder, state.config.teach, fresh)
    state.adapters.save("before", before, state.config.model.name)


def read_adapter(state: State, folder: Path) -> Adapters:
    """Put a saved adapter on the base, as "before"."""
    return adapters_.load(state.cache.bare(state.loaded).model, state.dtype, folder)


def attach(state: State) -> Adapters:
    """Put a fresh adapter on the base, as "before"."""
    c, base = state.config.teach, state.cache.bare(state.loaded).model
    return adapters_.attach(base, state.dtype, rank=c.rank, alpha=c.alpha, dropout=c.dropout, seed=state.config.seed)
