"""One run on its way from data to scores: what it is given, and what each stage leaves for the next."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import pandas as pd
import torch

from core.config.run_config import RunConfig
from core.data.corpus import Corpus
from core.data.widened_questions import WidenedQuestions
from core.methods.base import Method
from core.models import names
from core.models.adapters import Adapters
from core.models.distributed import Group
from core.models.kept_texts import Kept
from core.models.loading import Loaded
from core.models.model_cache import ModelCache
from core.models.tokens import Encoded
from core.pipeline.supply import Supply
from core.pipeline.unlearn_loop import Watched
from core.pipeline.voices import Voices
from core.runs.store import Run
from core.util.progress import Reporter

if TYPE_CHECKING:
    from core.pipeline.stage import Stage

T = TypeVar("T")


class Product(Generic[T]):
    """An attribute of the state that a stage leaves: read only once it is there, and only by stages that declare it."""

    def __set_name__(self, owner: type, name: str) -> None:
        """Learn the attribute's name."""
        self.name = name

    @overload
    def __get__(self, state: None, owner: type) -> Product[T]: ...
    @overload
    def __get__(self, state: State, owner: type) -> T: ...
    def __get__(self, state: State | None, owner: type) -> T | Product[T]:
        """Return the value. Raises RuntimeError where a stage did not declare that it reads it, or it is not there yet."""
        if state is None:
            return self
        stage = state.running
        if stage is not None and self.name not in (*stage.reads, *stage.leaves):
            raise RuntimeError(f"The stage {stage.name} reads {self.name} and does not declare it.")
        if self.name not in state.products:
            raise RuntimeError(f"{self.name} is not there yet: the stage that leaves it has not run.")
        return state.products[self.name]  # type: ignore[no-any-return]

    def __set__(self, state: State, value: T) -> None:
        """Leave a value. Raises RuntimeError where the running stage did not declare that."""
        stage = state.running
        if stage is not None and self.name not in stage.leaves:
            raise RuntimeError(f"The stage {stage.name} leaves {self.name} and does not declare it.")
        state.products[self.name] = value


@dataclass
class State:
    """What stages work on. `core.pipeline.setup.set_up` makes it; everything in it that a stage leaves is a Product."""

    run: Run
    config: RunConfig
    folder: Path
    """the runs folder, with the cache"""
    report: Reporter
    group: Group
    """the processes that do the run together; all but the main one have a run directory that nobody keeps"""
    cache: ModelCache
    """where the model stays between runs"""
    method: Method
    """the run's own, resolved"""
    whole: Corpus
    """everything that is taught"""
    corpus: Corpus
    """the same with dev held out, and of U only what is to be forgotten"""
    loaded: Loaded
    dtype: str
    voices: Voices
    spoken: Voices
    """those of the examples that are asked and scored: a sample of each scope and kind"""
    asked: Voices
    """of these, those that after is asked and scored on"""
    further: WidenedQuestions | None
    """questions that widen each scope, unanswered; None where nothing is widened"""
    general_text: list[Encoded]
    """questions and answers about neither scope, where the method uses them"""
    taught: bool
    """whether the run teaches, and is not given an adapter that knows"""
    has_never: bool
    """whether the base without adapter stands for a model that never knew the data"""
    keys: dict[str, str] = field(default_factory=dict)
    """stage -> the key under which its files are cached"""
    kept: list[Kept] = field(default_factory=list)
    """texts on which teaching holds a model to the base; had once for both models that a run teaches"""
    products: dict[str, Any] = field(default_factory=dict)
    """what stages have left, by name"""
    running: Stage | None = None
    """the stage at work"""

    adapters = Product[Adapters]()
    """those on the base: "before", and "after" once it is unlearned"""
    reference = Product[pd.DataFrame]()
    """answer tokens as before, and the model that was never taught, see them"""
    recorded = Product[dict[str, Any]]()
    """answers, general (log-probabilities of the general text) and extras, each by voice"""
    region = Product[list[str]]()
    """names of the tensors that may change"""
    watched = Product[Watched]()
    """the examples on which unlearning measures itself"""
    supply = Product[Supply]()
    """what unlearning trains on"""

    @property
    def base_name(self) -> str:
        """Name of the model under the adapters."""
        return names.adapter_base(self.loaded.adapter) if self.loaded.adapter else self.config.model.name

    def encoded(self, scope: str, split: str | None = None) -> list[Encoded]:
        """Return the tokens of a scope's examples."""
        return self.voices.known(self.corpus.select(scope, split))

    def words(self) -> torch.Tensor:
        """Return the (n,) token ids that are not special."""
        special = set(self.loaded.tokenizer.all_special_ids)
        return torch.tensor([i for i in range(len(self.loaded.tokenizer)) if i not in special])

    @contextlib.contextmanager
    def at_work(self, stage: Stage) -> Iterator[None]:
        """Within this context products are held to what the stage declares."""
        self.running = stage
        try:
            yield
        finally:
            self.running = None
