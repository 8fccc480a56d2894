"""Planted truth: facts are taught into modules of our own choice, so that it is known which score finds them.

A random set of modules learns U, another one R, and every other module learns decoys, facts that nobody asks for. All
learn at once, each set from its own examples alone, so every module carries an update; `size` holds them all at the same
length relative to the weights, so that length tells nothing. What was planted is checked by taking each set's updates
away: its own facts must go, the others stay. After LACUNA (arXiv 2607.02513), where .50 is reported for MemFlex.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from core.localization.ablation import fact_logprobs, without
from core.localization.facts import Flags
from core.localization.recorder import norm_of_update
from core.localization.scores import best
from core.metrics import intervals
from core.models.adapters import Adapters
from core.models.likelihood import answer_logits, per_example, token_nll
from core.models.tokens import Encoded, collate, epochs
from core.util.errors import UserError
from core.util.progress import Reporter

UNLEARN, RETENTION, DECOY = ROLES = ("unlearn", "retention", "decoy")


@dataclass(frozen=True)
class Planting:
    """How facts are planted."""

    modules: int = 10
    """of each of U and R; all others learn decoys"""
    steps: int = 60
    batch_size: int = 8
    """examples of each set in a step"""
    learning_rate: float = 3e-3
    """AdamW, constant"""
    size: float = 0.05
    """‖ΔW‖ / ‖W‖ that no module may pass; 0: no limit"""
    seed: int = 0
    """of roles, factors and batches"""


@dataclass(frozen=True)
class Planted:
    """What lies where, and whether it lies there."""

    roles: dict[str, str]
    """module -> which of ROLES it learned"""
    check: pd.DataFrame
    """one row a set of facts; columns: before, taught, and without_ROLE: mean log-probability of their fact tokens (nats)
    with no update at all, with all, and without those of the modules of a role"""
    sizes: pd.Series[float]
    """module -> ‖ΔW‖ / ‖W‖"""


def plant(
    adapters: Adapters,
    members: Mapping[str, Sequence[Encoded]],
    facts: Flags,
    config: Planting,
    report: Reporter | None = None,
) -> Planted:
    """Teach adapter "before" anew: members are the examples of each of ROLES, facts their fact tokens.

    Raises UserError where the model has too few modules that could be told apart.
    """
    report = report or Reporter()
    roles = drawn(adapters, config)
    adapters.fresh("before", "before", config.seed)
    told = {role: [m for m in members[role] if any(facts[m.id])] for role in ROLES}
    checked = {"before": _means(adapters, told, facts)}
    _teach(adapters, members, roles, config, report)
    checked["taught"] = _means(adapters, told, facts)
    for role in ROLES:
        with without(adapters, [name for name, own in roles.items() if own == role]):
            checked[f"without_{role}"] = _means(adapters, told, facts)
    sizes = {name: norm_of_update(adapters, name) / _norm(adapters, name) for name in roles}
    return Planted(roles, pd.DataFrame(checked), pd.Series(sizes))


def drawn(adapters: Adapters, config: Planting) -> dict[str, str]:
    """Draw the role of each module, in grid order."""
    names = list(dict.fromkeys(cell.name.rsplit(".lora_", 1)[0] for cell in adapters.cells))
    if not adapters.mixable or len(names) < 3 * config.modules:
        raise UserError(
            f"Facts cannot be planted: this model has {len(names)} modules, or some that are no linear layers.",
            f"Take a model with at least {3 * config.modules} linear layers, or plant into fewer modules.",
        )
    order = np.random.default_rng(config.seed).permutation(len(names))
    role_of = {
        index: UNLEARN if place < config.modules else RETENTION for place, index in enumerate(order[: 2 * config.modules])
    }
    return {name: role_of.get(index, DECOY) for index, name in enumerate(names)}


def _teach(
    adapters: Adapters,
    members: Mapping[str, Sequence[Encoded]],
    roles: Mapping[str, str],
    config: Planting,
    report: Reporter,
) -> None:
    """Make all steps: in each, every set of modules learns from a batch of its own facts, while the others are there too."""
    source = torch.Generator().manual_seed(config.seed)
    streams = {role: epochs(members[role], config.batch_size, source) for role in ROLES}
    cells = [cell.name for cell in adapters.cells]
    longest = {name: config.size * _norm(adapters, name) for name in roles}
    with adapters.trainable("before", cells) as parameters, adapters.active("before") as model:
        owned: dict[str, list[torch.nn.Parameter]] = {role: [] for role in ROLES}
        for cell, parameter in zip(cells, parameters, strict=True):
            owned[roles[cell.rsplit(".lora_", 1)[0]]].append(parameter)
        optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0)
        for step in range(config.steps):
            report.check()
            for role in ROLES:
                batch = collate(next(streams[role]), adapters.device)
                nll = token_nll(answer_logits(model, batch), batch.targets)
                per_example(nll, batch.owners, len(batch)).mean().backward(inputs=owned[role])
            optimizer.step()
            optimizer.zero_grad()
            if config.size:
                _limit(adapters, longest)
            report.progress(step + 1, config.steps, "steps")


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


def found(roles: Mapping[str, str], scores: pd.DataFrame) -> pd.DataFrame:
    """Say how well each score finds the modules that hold U. scores: one row a module (index: name), one column a score.

    Returns one row a score: auc_ROLE with auc_ROLE_low and auc_ROLE_high (95 % over modules) against those that hold R, and
    against those with decoys; precision, the share of U's modules among as many of the highest. NaN counts as lowest.
    """
    role = np.array([roles[name] for name in scores.index])
    rows = {}
    for name in scores:
        values = scores[name].fillna(-np.inf)
        row: dict[str, float] = {}
        for other in (RETENTION, DECOY):
            pair = values[role == UNLEARN].to_numpy(float), values[role == other].to_numpy(float)
            ends = dict(zip(("", "_low", "_high"), intervals.auc_interval(*pair), strict=True))
            row |= {f"auc_{other}{end}": value for end, value in ends.items()}
        highest = best(values, int((role == UNLEARN).sum()))
        row["precision"] = float(np.mean([roles[module] == UNLEARN for module in highest]))
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index")
