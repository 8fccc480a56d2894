"""What several tests share: a loaded tiny model with an adapter, and the plain way to compute a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig

from core.config.stages import DataConfig, ModelConfig
from core.data import sources
from core.data.corpus import SCOPES
from core.models import adapters as adapters_
from core.models import loading
from core.models.adapters import Adapters
from core.models.loading import Loaded
from core.models.tokens import Encoded, encode_all
from core.util.errors import Cancelled
from core.util.progress import Reporter


@dataclass
class Bench:
    """A tiny model with the adapter "before", and the examples of the tiny data."""

    loaded: Loaded
    adapters: Adapters
    unlearn: list[Encoded]
    retention: list[Encoded]
    pad: int = 2
    ends: tuple[int, ...] = (1,)

    @property
    def words(self) -> torch.Tensor:
        """Token ids without special ones."""
        return torch.arange(3, 300)


def make_bench(
    model: Path,
    examples: Path,
    *,
    live: bool = True,
    dtype: str = "float32",
    rank: int = 4,
    dropout: float = 0.0,
    targets: Sequence[str] = (),
    attention: str = "auto",
) -> Bench:
    """Load a tiny model; `live` gives its adapter random factors, as teaching would, so that A has gradients too.

    targets: the adapter's modules, where it is another than we make.
    """
    loaded = loading.load(ModelConfig(name=str(model), device="cpu", dtype=dtype, attention=attention))
    if targets:
        made = adapters_.wrap(loaded.model, dtype, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(targets)))
    else:
        made = adapters_.attach(loaded.model, dtype, rank=rank, alpha=2.0 * rank, dropout=dropout, seed=0)
    if live:
        randomize(made, "before", seed=1)
    corpus = sources.load(DataConfig(source=str(examples)))
    parts = [encode_all(loaded.tokenizer, "plain", corpus.select(scope, "train"), 256) for scope in SCOPES]
    return Bench(loaded, made, *parts)


def randomize(adapters: Adapters, name: str, seed: int, scale: float = 0.1) -> None:
    """Give every factor of an adapter random values."""
    source = torch.Generator().manual_seed(seed)
    for parameter in adapters.tensors(name).values():
        parameter.data.copy_(scale * torch.randn(parameter.shape, generator=source))


def plain_model(adapters: Adapters, name: str) -> Any:
    """Return the model through peft's own layers, with gradients for all cells of one adapter."""
    adapters.model.set_adapter(name)
    adapters.model.requires_grad_(False)
    for parameter in adapters.tensors(name).values():
        parameter.requires_grad_(True)
        parameter.grad = None
    return adapters.model


def example_loss(model: Any, example: Encoded, labels: Sequence[int] | None = None) -> torch.Tensor:
    """Return the mean cross-entropy over one example's answer tokens, from full logits, without padding."""
    logits = model(input_ids=torch.tensor([example.ids])).logits[0]
    predictions = logits[example.start - 1 : len(example.ids) - 1].float()
    return F.cross_entropy(predictions, torch.tensor(list(labels or example.answer)))


def gradients(adapters: Adapters, name: str) -> dict[str, torch.Tensor]:
    """Take the gradients of an adapter's cells and clear them."""
    found = {}
    for cell, parameter in adapters.tensors(name).items():
        found[cell] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        parameter.grad = None
    return found


@dataclass
class Recorder(Reporter):
    """Keeps what a stage reports; raises Cancelled at check number `stop_at`."""

    stop_at: int = -1
    checks: int = 0
    steps: list[dict[str, Any]] = field(default_factory=list)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    stages: list[tuple[str, str]] = field(default_factory=list)

    def progress(self, done: float, total: float, unit: str, **values: Any) -> None:
        self.steps.append({"done": done, "total": total, "unit": unit, **values})

    def stage(self, name: str, state: str, **values: Any) -> None:
        self.stages.append((name, state))

    def event(self, kind: str, **values: Any) -> None:
        self.events.append((kind, values))

    def check(self) -> None:
        self.checks += 1
        if self.checks == self.stop_at:
            raise Cancelled
