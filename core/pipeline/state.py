"""What the parts of a pipeline share: settings, data and model, and what one stage leaves for the next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from core.config.run_config import RunConfig
from core.data.corpus import Corpus
from core.data.widen import Asked
from core.methods.base import Method
from core.models.adapters import Adapters
from core.models.distributed import Group
from core.models.loading import Loaded
from core.models.model_cache import ModelCache
from core.models.tokens import Encoded
from core.pipeline.voices import Voices
from core.runs.store import Run
from core.util.progress import Reporter

if TYPE_CHECKING:
    import pandas as pd


class State:
    """One run on its way. `Pipeline` fills it; each part below derives from it and adds its stages."""

    run: Run
    config: RunConfig
    folder: Path
    """the runs folder, with the cache"""
    report: Reporter
    group: Group
    cache: ModelCache
    method: Method
    """the run's own, resolved"""
    whole: Corpus
    """everything that is taught"""
    corpus: Corpus
    """the same with dev held out, and of U only what is to be forgotten"""
    loaded: Loaded
    dtype: str
    pad: int
    voices: Voices
    asked: Voices
    """those of the examples that after is asked and scored on"""
    further: Asked | None
    """questions that widen each scope, unanswered; None where nothing is widened"""
    general_text: list[Encoded]
    """questions and answers about neither scope, where the method uses them"""
    taught: bool
    has_never: bool
    """whether the base without adapter stands for a model that never knew the data"""
    adapters: Adapters
    stages: dict[str, dict[str, Any]]
    keys: dict[str, str]
    reference: pd.DataFrame
    """tokens of before and of the model that was never taught"""
    recorded: dict[str, Any]
    """answers, answers to general questions and extras, by voice"""
    region: list[str]

    def _part(self, scope: str, split: str | None = None) -> list[Encoded]:
        return [self.voices.encoded[e.id] for e in self.corpus.select(scope, split)]

    def _words(self) -> torch.Tensor:
        special = set(self.loaded.tokenizer.all_special_ids)
        return torch.tensor([i for i in range(len(self.loaded.tokenizer)) if i not in special])
