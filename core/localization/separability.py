"""How well a straight cut tells unlearn questions from retention questions, at every depth of the model.

A linear probe "U or R question?" on the hidden state at the question's last token (the prompt's end, from which the answer
is spoken), one for each depth: 0 is what layer 0 reads (the embeddings), the last is what the output layer's norm reads.
Adapter "before". The probe is fitted on train questions alone and measured twice:

- on the questions of each other split, none of which has the wording of one in train: that is what people are shown, since
  train questions are near-twins of each other and so tell each other almost perfectly;
- on train itself, in folds: by that the region rule "separable" ranks layers, which may not look at val.

Ridge regression of ±1 on standardized features, in its dual form: w = Xᵀ(XXᵀ + αdI)⁻¹y with α = RIDGE and d features, so
α is on the scale of XXᵀ/d, whose diagonal is 1 on average. Mean, deviation and w come from what it is fitted on alone.
AUC: share of pairs (one question of each scope) that the held-out scores put in the right order, a tie counting half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from core.metrics import intervals
from core.models.adapters import Adapters
from core.models.distributed import ALONE, Group
from core.models.tokens import Encoded, by_length, collate, cost

FOLDS = 5
RIDGE = 1.0
MOST = 512
"""questions of each scope and split that are looked at, so that memory does not grow with the data"""
FEWEST = 2
"""questions of each scope that a split must have to be measured on"""

Scopes = tuple[Sequence[Encoded], Sequence[Encoded]]
"""questions to be forgotten, and to be kept"""


def separability(
    adapters: Adapters,
    unlearn: Sequence[Encoded],
    retention: Sequence[Encoded],
    held: Mapping[str, Scopes],
    *,
    size: int,
    seed: int,
    done: Callable[[int, int], None],
    group: Group = ALONE,
) -> pd.DataFrame:
    """Return one row a depth: layer (which reads this hidden state), auc (mean of the folds), low and high (worst, best
    fold); and of each held-out split that has enough questions SPLIT, SPLIT_low, SPLIT_high: AUC and its 95 % interval.

    NaN where a scope has a single question; no row where no adapted module lies in a layer. unlearn, retention: train
    questions; held: split -> questions of both scopes; size: questions per forward pass; done: told (questions, tokens)
    after each.
    """
    layers = sorted({cell.layer for cell in adapters.cells if cell.layer >= 0})
    if not layers:
        return pd.DataFrame(columns=["layer", "auc", "low", "high"], dtype=float)
    asked = questions(unlearn, retention, held)
    members = [m for scopes in asked.values() for scope in scopes for m in scope]
    states = hidden_states(adapters, members, size, done, group)
    place = np.repeat(list(asked), [len(first) + len(second) for first, second in asked.values()])
    is_unlearn = np.concatenate([np.repeat([True, False], [len(first), len(second)]) for first, second in asked.values()])
    train = place == TRAIN
    folds = split(is_unlearn[train], seed)
    rows = []
    for layer, read in zip([*layers, layers[-1] + 1], states, strict=True):
        features = read.astype(float)
        aucs = fold_aucs(features[train], is_unlearn[train], folds)
        worst, best = (min(aucs), max(aucs)) if aucs else (np.nan, np.nan)
        row = {"layer": layer, "auc": float(np.mean(aucs)) if aucs else np.nan, "low": worst, "high": best}
        for name in asked:
            if name != TRAIN:
                others = place == name
                scores = ridge_scores(features[train], signs(is_unlearn[train]), features[others])
                value, low, high = intervals.auc_interval(scores[is_unlearn[others]], scores[~is_unlearn[others]])
                row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


TRAIN = "train"


def questions(
    unlearn: Sequence[Encoded], retention: Sequence[Encoded], held: Mapping[str, Scopes]
) -> dict[str, tuple[list[Encoded], list[Encoded]]]:
    """Return split -> the questions alone of both scopes, train first, then the held-out splits that have enough.

    A held-out question in the wording of one in train is not held out.
    """
    train = prompts(unlearn), prompts(retention)
    asked = {TRAIN: (_some(train[0]), _some(train[1]))}
    known = {m.ids for scope in train for m in scope}
    if not all(asked[TRAIN]):  # nothing to fit the probe on
        return asked
    for name, scopes in held.items():
        first, second = ([m for m in prompts(scope) if m.ids not in known] for scope in scopes)
        if min(len(first), len(second)) >= FEWEST:
            asked[name] = (_some(first), _some(second))
    return asked


def _some(members: Sequence[Encoded]) -> list[Encoded]:
    """Return MOST of the questions, evenly over their order, or all where they are no more."""
    count = min(MOST, len(members))
    return [members[i * len(members) // count] for i in range(count)]


def prompts(members: Sequence[Encoded]) -> list[Encoded]:
    """Return the questions alone, each wording once: the same question in two folds would tell itself."""
    alone = {m.ids[: m.start]: replace(m, ids=m.ids[: m.start]) for m in members}
    return list(alone.values())


@torch.no_grad()
def hidden_states(
    adapters: Adapters,
    everybody: Sequence[Encoded],
    size: int,
    done: Callable[[int, int], None],
    group: Group = ALONE,
) -> np.ndarray:
    """Return what each layer reads at the last token of each of `everybody`, (depth + 1, members, width) in float32.

    The last row of the first axis is what the last layer gives.
    """
    members = group.shard(everybody, cost)
    blocks = [adapters.block(layer) for layer in sorted({c.layer for c in adapters.cells if c.layer >= 0})]
    row_of = {m.id: i for i, m in enumerate(members)}
    seen: dict[int, torch.Tensor] = {}
    features: np.ndarray | None = None

    def reads(depth: int) -> Callable[..., None]:
        return lambda _, args, kwargs: seen.update({depth: args[0] if args else kwargs["hidden_states"]})

    def gives(_: torch.nn.Module, __: tuple[torch.Tensor, ...], output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        seen[len(blocks)] = output[0] if isinstance(output, tuple) else output

    handles = [block.register_forward_pre_hook(reads(i), with_kwargs=True) for i, block in enumerate(blocks)]
    handles.append(blocks[-1].register_forward_hook(gives))
    try:
        with adapters.active("before") as model:
            for part in by_length(members, size):
                batch = collate(part, adapters.device)
                model.get_base_model().base_model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
                ends = [m.start - 1 for m in part]
                last = torch.stack([seen[depth][range(len(part)), ends].float().cpu() for depth in range(len(blocks) + 1)])
                if features is None:
                    features = np.empty((len(last), len(members), last.shape[-1]), np.float32)
                features[:, [row_of[m.id] for m in part]] = last.numpy()
                done(len(part), batch.ids.numel())
    finally:
        for handle in handles:
            handle.remove()
    parts = [(ours, states) for ours, states in group.all_gather((members, features)) if states is not None]
    if len(parts) == 1:
        return parts[0][1]
    order = {m.id: i for i, m in enumerate(m for ours, _ in parts for m in ours)}
    return np.concatenate([states for _, states in parts], axis=1)[:, [order[m.id] for m in everybody]]


def split(is_unlearn: np.ndarray, seed: int) -> np.ndarray:
    """Return the fold of each question, drawn with a seed; every fold has its share of both scopes.

    There are FOLDS of them, or as many as the smaller scope has questions.
    """
    source, folds = np.random.default_rng(seed), np.empty(len(is_unlearn), int)
    count = min(FOLDS, int(is_unlearn.sum()), int((~is_unlearn).sum()))
    for scope in (True, False):
        members = np.flatnonzero(is_unlearn == scope)
        folds[source.permutation(members)] = np.arange(len(members)) % count
    return folds


def fold_aucs(features: np.ndarray, is_unlearn: np.ndarray, folds: np.ndarray) -> list[float]:
    """Return the AUC on each held-out fold; none where there is only one fold."""
    aucs = []
    for fold in range(int(folds.max()) + 1 if folds.max() > 0 else 0):
        held = folds == fold
        scores = ridge_scores(features[~held], signs(is_unlearn[~held]), features[held])
        aucs.append(intervals.auc(scores[is_unlearn[held]], scores[~is_unlearn[held]]))
    return aucs


def signs(is_unlearn: np.ndarray) -> np.ndarray:
    """Return what the probe is fitted to: 1 for the unlearn scope, −1 for the other."""
    return np.where(is_unlearn, 1.0, -1.0)


def ridge_scores(features: np.ndarray, targets: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Fit the probe on (n, d) features in float64 and (n,) targets; return its scores of others (m, d), up to a constant."""
    mean, deviation = features.mean(0), features.std(0)
    # What is constant but for rounding gets weight 0: divided by its deviation, the rounding would be a feature.
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-9 * np.abs(mean))
    x, z = (features - mean) * scale, (others - mean) * scale
    width = x.shape[1]
    dual = np.linalg.solve(x @ x.T / width + RIDGE * np.eye(len(x)), targets - targets.mean())
    return z @ (x.T @ dual) / width  # type: ignore[no-any-return]
