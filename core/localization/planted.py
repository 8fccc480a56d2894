"""Planted truth: facts are taught into modules of our own choice, so that it is known which score finds them.

A random set of modules learns U, another one R, and all others learn decoys, facts that nobody asks for, in sets of about
the same size: each set of modules has facts of its own. All learn at once, each set from its own examples alone, so every
module carries an update; `size` holds them all at the same length relative to the weights, so that length tells nothing.
What was planted is checked by taking each set's updates away: its own facts must go, the others stay. After LACUNA
(arXiv 2607.02513), where .50 is reported for MemFlex.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from core.localization.ablation import ROOM, fact_logprobs, without
from core.localization.facts import Flags
from core.localization.plantings import ROLES
from core.localization.recorder import norm_of_update
from core.models.adapters import Adapters
from core.models.likelihood import answer_logits, per_example, token_nll
from core.models.tokens import Batch, Encoded, by_tokens, collate, epochs
from core.util.errors import UserError
from core.util.progress import Reporter

Gradients = dict[torch.nn.Parameter, torch.Tensor]


@dataclass(frozen=True)
class Planting:
    """How facts are planted."""

    modules: int = 10
    """of each of U and R; all others learn decoys"""
    steps: int = 45
    batch_size: int = 3
    """examples of each set in a step"""
    learning_rate: float = 2.5e-3
    """AdamW, falling to nothing in a straight line: sets that move at once disturb each other less at the end"""
    size: float = 0.05
    """‖ΔW‖ / ‖W‖ that no module may pass; 0: no limit"""
    place: int = 0
    """seed of which modules learn what"""
    seed: int = 0
    """of factors and batches"""


@dataclass(frozen=True)
class Planted:
    """What lies where, and whether it lies there."""

    sets: dict[str, int]
    """module -> number of the set of facts that it learned: 0 is U, 1 is R, all others are decoys"""
    check: pd.DataFrame
    """one row a role; columns: before, taught, and without_ROLE: mean log-probability of its fact tokens (nats) with no
    update at all, with all, and without those of the modules of a role"""
    sizes: pd.Series[float]
    """module -> ‖ΔW‖ / ‖W‖"""

    @property
    def roles(self) -> dict[str, str]:
        """Module -> which of ROLES it learned."""
        return {name: role(number) for name, number in self.sets.items()}

    @property
    def holds(self) -> bool:
        """Whether the facts lie there: without its own modules each of U and R loses more than half of what teaching gave
        (nats), and without those of the other less than half of that.
        """
        given = self.check["taught"] - self.check["before"]
        lost = {name: (self.check["taught"] - self.check[f"without_{name}"]) / given for name in ROLES[:2]}
        return all(
            lost[own][own] > 0.5 and max(lost[own][other] for other in ROLES if other != own) < 0.5 * lost[own][own]
            for own in ROLES[:2]
        )


def role(number: int) -> str:
    """Return which of ROLES a set of facts has."""
    return ROLES[min(number, 2)]


def plant(
    adapters: Adapters,
    sets: Sequence[Sequence[Encoded]],
    facts: Flags,
    config: Planting,
    report: Reporter | None = None,
) -> Planted:
    """Teach adapter "before" anew: the first set of examples is U, the second R, all others decoys; facts: fact tokens.

    Raises UserError where the model has too few modules that could be told apart.
    """
    report = report or Reporter()
    where = drawn(adapters, config, len(sets))
    adapters.fresh("before", "before", config.seed)
    told: dict[str, list[Encoded]] = {name: [] for name in ROLES}
    for number, members in enumerate(sets):
        told[role(number)] += [m for m in members if any(facts[m.id])]
    checked = {"before": _means(adapters, told, facts)}
    _teach(adapters, sets, where, config, report)
    checked["taught"] = _means(adapters, told, facts)
    for gone in ROLES:
        with without(adapters, [name for name, number in where.items() if role(number) == gone]):
            checked[f"without_{gone}"] = _means(adapters, told, facts)
    sizes = {name: norm_of_update(adapters, name) / _norm(adapters, name) for name in where}
    return Planted(where, pd.DataFrame(checked), pd.Series(sizes))


def drawn(adapters: Adapters, config: Planting, sets: int) -> dict[str, int]:
    """Draw which set of facts each module learns, in grid order: as many learn U as R, the others are dealt to decoys."""
    names = list(dict.fromkeys(cell.name.rsplit(".lora_", 1)[0] for cell in adapters.cells))
    if not adapters.mixable or len(names) < 3 * config.modules:
        raise UserError(
            f"Facts cannot be planted: this model has {len(names)} modules, or some that are no linear layers.",
            f"Take a model with at least {3 * config.modules} linear layers, or plant into fewer modules.",
        )
    order = np.random.default_rng(config.place).permutation(len(names))
    rest = itertools.cycle(range(2, sets))
    numbers = [0] * config.modules + [1] * config.modules
    set_of = dict(zip(order.tolist(), itertools.chain(numbers, rest), strict=False))
    return {name: set_of[index] for index, name in enumerate(names)}


def _teach(
    adapters: Adapters, sets: Sequence[Sequence[Encoded]], where: Mapping[str, int], config: Planting, report: Reporter
) -> None:
    """Make all steps: in each, every set of modules learns from a batch of its own facts, while the others are there too."""
    source = torch.Generator().manual_seed(config.seed)
    streams = [epochs(members, config.batch_size, source) for members in sets]
    set_of = {m.id: number for number, members in enumerate(sets) for m in members}
    cells = [cell.name for cell in adapters.cells]
    longest = {name: config.size * _norm(adapters, name) for name in where}
    with adapters.trainable("before", cells) as parameters, adapters.active("before") as model:
        optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0)
        for step in range(config.steps):
            report.check()
            optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - step / config.steps)
            members = [m for stream in streams for m in next(stream)]
            gradients: Gradients = {}
            for part in by_tokens(members, ROOM):
                batch = collate(part, adapters.device)
                with _apart(adapters, where, batch, torch.tensor([set_of[m.id] for m in part]), gradients):
                    nll = token_nll(answer_logits(model, batch), batch.targets)
                    # A mean over each set's examples; no other set has a share in its modules' gradients.
                    (per_example(nll, batch.owners, len(batch)).sum() / config.batch_size).backward()
            for parameter, gradient in gradients.items():
                parameter.grad = gradient
            optimizer.step()
            optimizer.zero_grad()
            if config.size:
                _limit(adapters, longest)
            report.progress(step + 1, config.steps, "steps", tokens=sum(len(m.ids) for m in members))


@contextlib.contextmanager
def _apart(
    adapters: Adapters, where: Mapping[str, int], batch: Batch, owners: torch.Tensor, gradients: Gradients
) -> Iterator[None]:
    """Within this context one batch is differentiated: what its own set's examples say of each module is added up.

    With a layer's input x and the gradient δ of its output, s·(δB)ᵀx is A's and s·δᵀ(xAᵀ) is B's: sums over positions, of
    which those of other sets are left out. What flows to layers below is left as it is. owners: (examples,) the set of each.
    """
    layers: dict[str, Any] = {name: adapters.layer(f"{name}.lora_A") for name in where}

    @torch.no_grad()
    def collect(layer: Any, x: torch.Tensor, delta: torch.Tensor, number: int) -> None:
        own = _of_rows((owners == number).to(x.device), batch, x)
        a, b, scale = layer.lora_A["before"].weight, layer.lora_B["before"].weight, layer.scaling["before"]
        with torch.autocast(x.device.type, enabled=False):
            x, delta = x.flatten(0, -2)[own].float(), delta.flatten(0, -2)[own].float()
            for factor, part in ((a, scale * (delta @ b).t() @ x), (b, scale * delta.t() @ (x @ a.t()))):
                gradients[factor] = gradients.get(factor, 0) + part

    def watch(number: int) -> Any:
        def after_forward(layer: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            x = args[0].detach()
            output.register_hook(lambda delta: collect(layer, x, delta, number))

        return after_forward

    handles = [layer.register_forward_hook(watch(where[name])) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _of_rows(examples: torch.Tensor, batch: Batch, values: torch.Tensor) -> torch.Tensor:
    """Return what is said of each example for each row of values (…, width), flat."""
    rows = values.shape[:-1].numel()
    # OPT flattens examples and positions; the output layer has answer positions alone.
    if rows == len(batch.owners) != batch.ids.numel():
        return examples[batch.owners]
    return examples.repeat_interleave(rows // len(batch))


@torch.no_grad()
def _limit(adapters: Adapters, longest: Mapping[str, float]) -> None:
    """Shorten the updates that are longer than they may be: B is scaled."""
    for name, most in longest.items():
        if (length := norm_of_update(adapters, name)) > most:
            adapters.tensor("before", f"{name}.lora_B").mul_(most / length)


def _norm(adapters: Adapters, name: str) -> float:
    layer: Any = adapters.layer(f"{name}.lora_A")
    return float(layer.get_base_layer().weight.float().norm())


def _means(adapters: Adapters, members: Mapping[str, Sequence[Encoded]], facts: Flags) -> pd.Series[float]:
    with adapters.active("before"):
        return pd.Series({role: float(fact_logprobs(adapters, told, facts).mean()) for role, told in members.items()})
