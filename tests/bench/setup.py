"""What benchmarks share: the bundled model with an adapter on it, the demo's examples as tokens, and a clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from core.config.run_config import preset
from core.data import sources
from core.models import adapters as adapters_
from core.models import device, loading, tokens
from core.models.adapters import Adapters
from core.models.tokens import Encoded


@dataclass
class Bench:
    """The bundled model with an adapter on it, and the demo's examples as tokens."""

    adapters: Adapters
    tokenizer: Any
    unlearn: list[Encoded]
    """examples of the unlearn scope"""
    retention: list[Encoded]
    questions: list[str]
    """those of the unlearn scope"""
    words: torch.Tensor
    """tokens that labels are perturbed with"""

    @property
    def pad(self) -> int:
        """Padding token."""
        return int(self.tokenizer.pad_token_id)


def prepare(dtype: str = "auto") -> Bench:
    """Load everything; B is made random, so that both factors have gradients as after teaching."""
    config = preset("this-machine").with_setting("model.dtype", dtype)
    loaded = loading.load(config.model)
    own = adapters_.attach(loaded.model, device.pick_dtype(dtype, "auto"), rank=8, alpha=16, dropout=0.0, seed=0)
    torch.manual_seed(0)
    for cell in own.cells:
        if cell.factor == "B":
            own.tensor("before", cell.name).data.normal_(std=0.01)
    corpus = sources.load(config.data)
    unlearn, retention = (
        tokens.encode_all(loaded.tokenizer, "plain", corpus.select(scope), 256) for scope in ("unlearn", "retention")
    )
    words = torch.arange(10, len(loaded.tokenizer))
    return Bench(own, loaded.tokenizer, unlearn, retention, [e.question for e in corpus.select("unlearn")], words)


def median_seconds(run: Callable[[], object], times: int = 3) -> float:
    """Return the median wall time after one uncounted run."""
    run()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
