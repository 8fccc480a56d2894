"""How much a run needs before any of it exists: memory by part and stage, work in tokens, seconds at a rate, disk.

Needs a model's configuration and the data, not the weights: the steps are run on the meta device (core/plan/dry_run.py).
What it says is compared with real runs by tests/bench/plan.py. Where the weights are here and minutes do not
matter, core/jobs/estimate.py measures seconds with real steps instead.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.config.run_config import RunConfig
from core.data import sources
from core.data.corpus import SCOPES, Corpus
from core.models import device as device_
from core.models import names, tokens
from core.models.adapters import Adapters
from core.models.placement import ROUNDED
from core.models.tokens import Encoded, bucketed, by_length, padded
from core.plan import architectures, dry_run
from core.util.errors import UserError

LIBRARIES = 0.575e9
"""bytes of a worker that has imported all it needs, read the data and made a pass, without the model: 533 MB before the pass
and 42 MB that it touches of libraries (measured, x86-64 Linux)"""
CUDA = 0.5e9
"""bytes that a process takes on each GPU for CUDA itself; a common figure, not measured here"""
HEAP, PLAIN = 0.5, 0.25
"""What glibc's heap takes beyond the tensors in it, also from stages before, as a share of what comes and goes in a step:
with the settings that workers are given (core/util/process.py; measured 0.35 to 0.6 in whole runs), and with its own."""
HOLES = 0.18e9
"""bytes that it takes at least: parts of other lengths do not fit where earlier ones lay (seen: 16 MiB a micro-batch), and
the loss goes through its rows in float32"""
FORWARD = 0.5
"""cost of a token that only goes forward, against one that also goes back: no gradients of frozen weights are computed"""
REGION = 0.2
"""share of the tensors that the region is taken to have, as no gradient is known yet"""
CELL = 250
"""bytes a tensor takes in the tables of a run, its share of the questions' contributions among them"""
PROFILE = 3.65
"""bytes a row or column of a tensor takes in detail.npz for each scope: float32, compressed"""
EXAMPLE, EXTRAS = 8_500, 3_000
"""bytes an example takes in a run's answers, tokens and metrics; and what else is recorded of it with evaluate.extras"""

_Scopes = dict[str, list[Encoded]]
"""scope -> examples: `encoded` are those of the run, `lessons` also those that are taught and then left out"""


@dataclass(frozen=True)
class Work:
    """The data as tokens, and how many of them go through the model in each stage."""

    examples: int
    longest: int
    """tokens of the longest question with answer"""
    trained: dict[str, float]
    """stage -> tokens forward and backward, padding included"""
    read: dict[str, float]
    """stage -> tokens that only go forward, generated ones included"""
    tokenizer: str
    """whose tokens are counted"""


@dataclass(frozen=True)
class Plan:
    """What a run needs; bytes, seconds, counts."""

    model: str
    source: str
    """where the configuration is from"""
    parameters: int
    layers: int
    dtype: str
    tensors: int
    """adapter tensors: the cells of the grid"""
    adapter: int
    """parameters of one adapter"""
    weights: dict[str, float]
    """how the base's weights may be kept (model.weights) -> bytes"""
    memory: dict[str, dict[str, float]]
    """stage -> part -> bytes, on all devices together"""
    work: Work
    seconds: dict[str, float] | None
    """stage -> seconds at the given rate"""
    disk: dict[str, float]
    """what -> bytes"""

    @property
    def fullest(self) -> str:
        """The stage that needs most."""
        return max(self.memory, key=lambda stage: sum(self.memory[stage].values()))

    def devices(self, count: int) -> list[dict[str, float]]:
        """Return part -> bytes for each device when whole layers are spread over so many, in order."""
        parts, devices = self.memory[self.fullest], []
        for number in range(count):
            share = (self.layers * (number + 1) // count - self.layers * number // count) / self.layers
            own = {name: size * share for name, size in parts.items()}
            own["logits"] = parts["logits"] if number == count - 1 else 0.0
            own["libraries"] = parts["libraries"]
            devices.append(own)
        return devices

    def needed(self, room: float) -> int | None:
        """Return the fewest devices of so many bytes that hold it; None where not even one layer a device fits."""
        for count in range(1, self.layers + 1):
            if max(sum(device.values()) for device in self.devices(count)) <= room:
                return count
        return None


def make(config: RunConfig, *, gpu: bool = False, rate: float | None = None, heap: float = HEAP) -> Plan:
    """Work out what a run needs. rate: tokens a second forward and backward. heap: see HEAP.

    Raises UserError for what cannot be read.
    """
    model = architectures.configuration(config.model.name)
    dtype = device_.guessed_dtype(config.model.dtype, "cuda" if gpu else device_.guessed_device(config.model.device))
    corpus = sources.load(config.data, config.seed)
    whole = sources.load(dataclasses.replace(config.data, forget=()), config.seed) if config.data.forget else corpus
    tokenizer, whose = _tokenizer(config)
    encoded, lessons = (_encoded(config, tokenizer, part) for part in (corpus, whole))
    adapters = architectures.weightless(model, dtype, config.teach)
    held = dry_run.held(model, config, _batches(config, corpus, encoded, lessons), dtype, gpu=gpu)
    published = architectures.published().get(config.model.name)
    work = _work(config, corpus, encoded, lessons, whose)
    weights = {name: p for name, p in adapters.model.named_parameters() if ".lora_" not in name}
    kept = {how: sum(p.numel() * _per_weight(how, name, p) for name, p in weights.items()) for how in ("full", *ROUNDED)}
    adapter = sum(p.numel() for p in adapters.tensors("before").values())
    return Plan(
        config.model.name,
        published["source"] if published else "its own configuration",
        sum(p.numel() for p in weights.values()),
        int(model.num_hidden_layers),
        dtype,
        len(adapters.cells),
        adapter,
        kept,
        _memory(kept[config.model.weights], adapter, held, work, config, model, None if gpu else heap),
        work,
        _seconds(work, rate) if rate else None,
        _disk(adapter, adapters, work, config),
    )


def _per_weight(how: str, name: str, weight: torch.Tensor) -> float:
    """Return the bytes of one number of a weight: linear layers may be rounded, with a scale a group
    (core/models/quantized.py).
    """
    if how == "full" or ".base_layer." not in name or weight.ndim < 2:
        return weight.element_size()
    bits, group = ROUNDED[how]
    return bits / 8 + 4 / (group or weight.shape[-1])


def _tokenizer(config: RunConfig) -> tuple[Any, str]:
    """Return the model's tokenizer, or the bundled model's where that of the model is not here."""
    from transformers import AutoTokenizer

    if config.model.name in architectures.published():
        return AutoTokenizer.from_pretrained(names.bundled_folder()), "the bundled model's tokenizer"
    source = names.resolve(config.model.name)[0]
    return AutoTokenizer.from_pretrained(source), "its own tokenizer"


def _encoded(config: RunConfig, tokenizer: Any, corpus: Corpus) -> _Scopes:
    c = config.data
    return {s: tokens.encode_all(tokenizer, config.model.template, corpus.select(s), c.max_tokens) for s in SCOPES}


def _part(corpus: Corpus, encoded: _Scopes, scope: str, split: str | Sequence[str] = "train") -> list[Encoded]:
    wanted = {e.id for e in corpus.select(scope, split)}
    return [m for m in encoded[scope] if m.id in wanted]


def _batches(config: RunConfig, corpus: Corpus, encoded: _Scopes, lessons: _Scopes) -> dry_run.Batches:
    everything, taught = ([m for members in scopes.values() for m in members] for scopes in (encoded, lessons))
    train = {scope: _part(corpus, encoded, scope) for scope in SCOPES}
    copies = config.localize.copies if config.localize.perturbation == "code" else 1
    sizes = config.unlearn.sizes
    return dry_run.Batches(
        teach=dry_run.longest(taught, config.teach.batch_size),
        localize=max(
            (dry_run.longest(members * copies, config.localize.batch_size) for members in train.values()), key=_tokens
        ),
        unlearn=(dry_run.longest(train["unlearn"], sizes[0]), dry_run.longest(train["retention"], sizes[1])),
        score=dry_run.longest(everything, config.evaluate.batch_size),
        rows=2 * min(config.answers.batch_size, len(everything)),
        prompt=max(m.start for m in everything),
    )


def _tokens(members: Sequence[Encoded]) -> int:
    return padded([members]) if members else 0


def _work(config: RunConfig, corpus: Corpus, encoded: _Scopes, lessons: _Scopes, whose: str) -> Work:
    """Count the tokens of every stage as it will batch them; teaching and unlearning make all the steps they may."""
    everything, taught = ([m for members in scopes.values() for m in members] for scopes in (encoded, lessons))
    passes = (
        config.teach.course(corpus.wordings(), len(corpus.taught().examples)).epochs
        if config.teach.enabled and not config.teach.from_run
        else 0
    )
    train = {scope: _part(corpus, encoded, scope) for scope in SCOPES}
    source = torch.Generator().manual_seed(config.seed)
    c = config.unlearn.course(*map(len, train.values()))
    joint = [m for scope, count in zip(SCOPES, c.sizes, strict=True) for m in train[scope][: min(count, len(train[scope]))]]
    copies = config.localize.copies if config.localize.perturbation == "code" else 1
    among = corpus.sample(config.localize.most)
    splits = config.localize.splits
    located = {scope: by_length(_part(among, encoded, scope, splits), config.localize.batch_size) for scope in SCOPES}
    localized = {scope: padded(batches) * copies for scope, batches in located.items()}
    scored = padded(by_length(everything, config.evaluate.batch_size))
    asked = sum(m.start + config.answers.max_new_tokens for m in everything)
    voices = 1 + config.teach.enabled  # before, and the model that was never taught
    return Work(
        len(everything),
        max(len(m.ids) for m in everything),
        trained={
            "teach": float(padded(bucketed(taught, config.teach.batch_size, source)) * passes),
            # The unlearn scope is gone through once more, for each question's share.
            "localize": float(2 * localized["unlearn"] + localized["retention"]),
            "unlearn": float(c.steps * _tokens(joint)),
        },
        read={
            "preflight": float(voices * (scored + asked)),
            "answers": float(asked),
            "evaluate": float(scored),
            "unlearn": float(
                -(-c.steps // c.check_every)
                * 2
                * c.watch
                * (config.answers.max_new_tokens + max(m.start for m in everything))
            ),
        },
        tokenizer=whose,
    )


def _seconds(work: Work, rate: float) -> dict[str, float]:
    stages = dict.fromkeys([*work.trained, *work.read])
    return {stage: (work.trained.get(stage, 0.0) + FORWARD * work.read.get(stage, 0.0)) / rate for stage in stages}


def _memory(
    weights: float,
    adapter: int,
    held: dict[str, dict[str, float]],
    work: Work,
    config: RunConfig,
    model: Any,
    heap: float | None,
) -> dict[str, dict[str, float]]:
    """Return stage -> part -> bytes. Adapters, gradients and the optimizer's two moments are float32.

    heap: see HEAP; None on a GPU.
    """
    adapter_bytes, region = 4.0 * adapter, 4.0 * adapter * _region(config)
    fixed = {"weights": weights, "libraries": CUDA if heap is None else LIBRARIES}
    # Both scopes' gradients are kept while the second one is computed, and again while examples are compared with them.
    states = {"localize": (len(SCOPES) + 1) * adapter_bytes, "teach": adapter_bytes, "unlearn": region}
    # Of unlearning: before and after; what the region was and is.
    copies = {"teach": adapter_bytes, "localize": adapter_bytes, "unlearn": 2 * adapter_bytes + 2 * region}
    kept = 4.0 * work.examples * (model.num_hidden_layers + 1) * model.hidden_size  # hidden states, for separability
    memory = {}
    for stage, sizes in held.items():
        moving = sizes["activations"] + sizes["logits"]
        memory[stage] = fixed | {
            "adapter": copies.get(stage, 2 * adapter_bytes),
            "gradients": states.get(stage, 0.0),
            "optimizer": {"teach": 2 * adapter_bytes, "unlearn": 2 * region}.get(stage, 0.0),
            "activations": sizes["activations"],
            "logits": sizes["logits"],
            "cache": sizes.get("cache", 0.0),
            "references": kept if stage == "localize" else 0.0,
            "allocator": 0.0 if heap is None else max(HOLES, heap * moving),
        }
    return memory


def _region(config: RunConfig) -> float:
    """Return the share of tensors in the region: all of them where the rule says so, else a usual share."""
    return 1.0 if config.region.name == "all" else REGION


def _disk(adapter: int, adapters: Adapters, work: Work, config: RunConfig) -> dict[str, float]:
    """Return bytes: the taught adapter is kept in two bytes a number, what unlearning changes in four."""
    c, region = config.unlearn, 4.0 * adapter * _region(config)
    return {
        "before": 2.0 * adapter,
        "after": region,
        "checkpoints": region * math.ceil(c.steps / c.check_every),
        "profiles": PROFILE * len(SCOPES) * sum(sum(cell.shape) for cell in adapters.cells),
        "tables": float(CELL * len(adapters.cells) + (EXAMPLE + EXTRAS * config.evaluate.extras) * work.examples),
    }


def plain(plan: Plan) -> dict[str, Any]:
    """Return plain values, for JSON."""
    return {**dataclasses.asdict(plan), "fullest": plan.fullest}


def checked(gpus: int | None, memory: float | None, rate: float | None) -> None:
    """Raise UserError for a number that cannot be meant."""
    for number, option in ((gpus, "--gpus"), (memory, "--gpu-memory"), (rate, "--rate")):
        if number is not None and not (0 < number < math.inf):
            raise UserError(f"{option} cannot be {number:g}.", "Give a number above 0.")
