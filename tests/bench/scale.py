"""How the cost of localization grows: three sizes of each thing it could depend on, and the slope of a log-log fit.

Processor time of one thread, so that other programs do not count. A slope of 1 is a cost in proportion, 0 is none at all.
Small random models: what is measured is how the cost grows, not how large it is.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.config.stages import LocalizeConfig, ModelConfig

EXAMPLES = (16, 32, 64)
COPIES = (1, 5, 25)
WIDTHS = (64, 128, 256)
LAYERS = 6
TARGETS: tuple[str | tuple[str, ...], ...] = (("q_proj",), ("q_proj", "v_proj", "o_proj"), "all-linear")
REPEAT = 2


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the exponent that fits best: cost ~ size^slope, by least squares on logarithms."""
    return round(float(np.polyfit(np.log(sizes), np.log(costs), 1)[0]), 2)


def measure() -> dict[str, Any]:
    """Return, for each thing that grows, its sizes, the seconds and the slope."""
    import torch

    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        middle = _model(Path(folder), WIDTHS[1])
        full = _adapters(middle, "all-linear")
        for count in EXAMPLES:  # the same lengths each time, so tokens grow with examples and padding does not
            _note(found, "tokens", *_localized(full, count, 5))
        for copies in COPIES:
            _note(found, "copies", copies, _localized(full, EXAMPLES[0], copies)[1])
        for targets in TARGETS:
            of = _adapters(middle, targets)
            _note(found, "tensors", len(of[0].cells), _localized(of, EXAMPLES[0], 5)[1])
        for width in WIDTHS:
            of = _adapters(_model(Path(folder), width), "all-linear")
            # A table of embeddings is looked into, not multiplied.
            multiplied = [p for n, p in of[0].model.named_parameters() if ".lora_" not in n and "embed" not in n]
            _note(found, "parameters", sum(p.numel() for p in multiplied), _localized(of, EXAMPLES[0], 5)[1])
    for kind in ("tokens", "copies", "tensors", "parameters"):
        found[f"scale_{kind}_slope"] = slope(found[f"scale_{kind}"], found[f"scale_{kind}_seconds"])
    return found


def _note(found: dict[str, Any], kind: str, size: float, seconds: float) -> None:
    found.setdefault(f"scale_{kind}", []).append(size)
    found.setdefault(f"scale_{kind}_seconds", []).append(round(seconds, 3))


def _model(folder: Path, width: int) -> str:
    """Make a random model of some width, once, and return its folder."""
    from tests.bench.plan import small

    place = folder / str(width)
    if not place.is_dir():
        shape = {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
        small(place, {"model_type": "llama", **shape})
    return str(place)


def _adapters(model: str, targets: str | tuple[str, ...]) -> tuple[Any, Any]:
    """Return a model with adapters on some of its modules, and its tokenizer."""
    from peft import LoraConfig

    from core.models import adapters, loading

    loaded = loading.load(ModelConfig(name=model, dtype="float32", device="cpu"))
    chosen = targets if isinstance(targets, str) else list(targets)
    return adapters.wrap(loaded.model, "float32", LoraConfig(r=8, lora_alpha=16, target_modules=chosen)), loaded.tokenizer


def _localized(of: tuple[Any, Any], examples: int, copies: int) -> tuple[float, float]:
    """Return (tokens, least seconds of several) of the gradients of so many examples of the demo."""
    import torch

    from core.config.stages import DataConfig
    from core.data import sources
    from core.models import tokens
    from core.pipeline.localize import Counter, gradient, perturbed
    from core.util.progress import Reporter

    adapters, tokenizer = of
    corpus, config = sources.load(DataConfig()), LocalizeConfig(copies=copies)
    encoded = tokens.encode_all(tokenizer, "plain", corpus.examples, 256)
    # Every size sees the same lengths: what is measured is how many there are.
    members = [
        tokens.Encoded(f"{m.id}/{turn}", m.ids, m.start) for turn in range(4) for m in encoded[:: len(encoded) // 16][:16]
    ]
    part, words = members[:examples], torch.arange(10, len(tokenizer))
    targets = perturbed(part, config, words, 0)

    def run() -> None:
        gradient(adapters, *targets, EXAMPLES[0], int(tokenizer.pad_token_id), Counter(Reporter(), len(part)))

    run()
    return float(sum(len(m.ids) for m in part)), min(_processor(run) for _ in range(REPEAT))


def _processor(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started
