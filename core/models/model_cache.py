"""The model that a worker keeps in memory from one run to the next, and the taught adapter on it.

What is kept is what loading would give again: the base with its adapters off, and "before" under the key of the stage
that taught it. Every other adapter leaves with its run, so that nothing of one run reaches the next.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch

from core.config.stages import ModelConfig
from core.models import loading
from core.models.adapters import Adapters
from core.models.loading import Loaded


class ModelCache:
    """Holds at most one model."""

    def __init__(self) -> None:
        """Begin empty."""
        self._config: ModelConfig | None = None
        self._loaded: Loaded | None = None
        self._adapters: Adapters | None = None
        self._key = self._hash = ""

    def load(self, config: ModelConfig, make_room: Callable[[], object] | None = None) -> Loaded:
        """Return the model of a configuration; another one leaves the memory first. Raises UserError as loading does."""
        if self._loaded is None or self._config != config.in_memory:
            if self._loaded is not None:
                self.clear()
            self._loaded = loading.load(config, make_room)
            self._config = config.in_memory
        return self._loaded

    def bare(self, loaded: Loaded) -> Loaded:
        """Return the model without any adapter on it, ready for another one."""
        if self._adapters is not None:
            self._adapters.release()
            self._adapters, self._key = None, ""
        return loaded

    def taught(self, key: str) -> Adapters | None:
        """Return the adapters that the stage with this key taught, if they are here and still have the same content."""
        if self._adapters is None or not key or key != self._key:
            return None
        return self._adapters if self._adapters.hash("before") == self._hash else None

    def keep(self, key: str, adapters: Adapters) -> Adapters:
        """Remember what is on the model now. key: of the stage that taught it, empty where nothing may be re-used."""
        if adapters is not self._adapters or key != self._key:
            self._adapters, self._key, self._hash = adapters, key, adapters.hash("before")
        return adapters

    def tidy(self) -> None:
        """Drop all adapters but "before": a run has ended."""
        if self._adapters is not None:
            for name in self._adapters.names:
                if name != "before":
                    self._adapters.drop(name)

    def clear(self) -> None:
        """Forget everything, for another model or after a run that broke off in the middle of something."""
        self._config = self._loaded = self._adapters = None
        self._key = self._hash = ""
        gc.collect()  # models refer to themselves: without this the next one would come before the last one is gone
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # what the allocator keeps counts as taken, for the next model and for others
