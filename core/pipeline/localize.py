"""MemFlex's localization (paper, section 3.3): which adapter tensors answer to U and not to R.

For every example the answer, all but its end, is replaced by random tokens, k times, and the loss towards them is
differentiated in eval mode. G = (1/N) Σ of the gradients of per-example mean-token losses, N = examples × copies, once
per scope. Per tensor: cos = <G_U, G_R> / (|G_U| |G_R|), magnitude = mean |G_U|, divergence = (1 − cos) · magnitude.

With the paper's perturbation (labels only) the k copies of an example share one forward and one backward pass: the
loss is linear in the one-hot labels, so their mean is the loss towards the mean label. That is exact, not an estimate.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from peft.tuners.lora.layer import ParamWrapper

from core.config.stages import LocalizeConfig
from core.localization.cell_detail import details
from core.localization.facts import Flags
from core.localization.recorder import Recorder
from core.localization.scores import SCORES, scored
from core.localization.separability import Scopes, questions, separability
from core.models.adapters import Adapters, Cell
from core.models.distributed import ALONE, Group
from core.models.likelihood import answer_logits, per_example, token_nll
from core.models.micro_batches import MicroBatches, for_the_way_back
from core.models.tokens import Batch, Encoded, by_length, collate, cost
from core.regions.scored import COLUMN
from core.regions.scored import SCORES as RECORDED
from core.util.errors import UserError
from core.util.progress import Reporter

TOP = 10
"""examples kept per cell in the contributions table"""


@dataclass(frozen=True)
class Localization:
    """What the stage found; see the module's docstring."""

    table: pd.DataFrame
    """one row a tensor: name, layer, module, factor, rows, columns, cos, mag_unlearn, mag_retain, norm_unlearn,
    norm_retain, divergence, has_gradient, auc (of its layer, see core/localization/separability.py); and score_… of its
    module where modules were scored"""
    contributions: pd.DataFrame
    """name, example, share: the TOP unlearn examples of each tensor; an example's share is <g_n, G>/(N |G|²)"""
    detail: dict[str, np.ndarray]
    """profiles and histograms, flat with offsets: see core/localization/cell_detail.py"""
    separability: pd.DataFrame
    """one row a hidden state: layer, auc, low, high, and the same of held-out splits"""


Targets = Callable[[Sequence[Encoded]], torch.Tensor]
Found = TypeVar("Found")


def localize(
    adapters: Adapters,
    unlearn: Sequence[Encoded],
    retention: Sequence[Encoded],
    config: LocalizeConfig,
    *,
    held: Mapping[str, Scopes],
    words: torch.Tensor,
    facts: Flags | None = None,
    seed: int,
    report: Reporter,
    group: Group = ALONE,
    micro: MicroBatches | None = None,
) -> Localization:
    """Compute gradients of both scopes at adapter "before", and what follows from them.

    held: split -> questions of both scopes, only to measure how separable they are on. words: (n,) token ids that random
    labels are drawn from (all but special tokens). facts: which answer tokens of both scopes carry
    facts; without them no module is scored. micro: how many examples go through the model at once.
    """
    micro = micro or MicroBatches(report=report)
    truths = {"unlearn": unlearn, "retention": retention}
    scopes = {scope: perturbed(members, config, words, seed) for scope, members in truths.items()}
    # With inputs that are overwritten, true answers are not what the passes below read.
    alone = facts is not None and config.perturbation == "code"
    total = len(unlearn) + len(retention) if alone else 0
    total += sum(len(members) for members, _ in scopes.values()) + len(scopes["unlearn"][0])
    total += sum(len(scope) for scopes in questions(unlearn, retention, held).values() for scope in scopes)
    counter = Counter(report, total, group)
    recorder = None if facts is None else Recorder(adapters, facts, seed=seed, gradients=False)
    gradients = {}
    for scope, given in scopes.items():
        work = partial(_scope_gradient, adapters, given, (scope, truths[scope]), alone, counter, recorder)
        gradients[scope] = _fitting(work, config.batch_size, counter, adapters, micro)
    table = statistics(adapters.cells, gradients["unlearn"], gradients["retention"])
    members, targets = scopes["unlearn"]
    sharing = partial(example_shares, adapters, members, targets, gradients["unlearn"], counter=counter)
    shares = _fitting(sharing, config.batch_size, counter, adapters, micro)
    inside = details(adapters.cells, gradients, adapters.model.get_base_model().config)
    separable = separability(
        adapters, unlearn, retention, held, size=config.batch_size, seed=seed, done=counter.add, group=group
    )
    table["auc"] = table["layer"].map(separable.set_index("layer")["auc"])
    if recorder:
        modules, of = scored(recorder.record(group), RECORDED).set_index("name"), _modules(table)
        for score in RECORDED:
            table[COLUMN.format(score)] = of.map(modules[score])
    return Localization(table, top_contributions(shares, table), inside, separable)


def module_scores(
    adapters: Adapters,
    unlearn: Sequence[Encoded],
    retention: Sequence[Encoded],
    config: LocalizeConfig,
    words: torch.Tensor,
    facts: Flags,
    seed: int,
    report: Reporter,
) -> pd.DataFrame:
    """Return every score of each module of adapter "before", one row a module, from the passes that `localize` makes.

    One more column, located: how the paper's rule ranks, the larger divergence of a module's two factors. Arguments as in
    `localize`.
    """
    recorder, gradients = Recorder(adapters, facts, seed=seed), {}
    counter = Counter(report, len(unlearn) + len(retention))
    for scope, truths in (("unlearn", unlearn), ("retention", retention)):
        members, targets = perturbed(truths, config, words, seed)
        recorder.begin(scope, len(members))
        gradients[scope] = gradient(adapters, members, targets, config.batch_size, counter, recorder)
        if config.perturbation == "code":
            recorder.margins_alone(truths, config.batch_size, counter.add, ALONE)
    tensors = statistics(adapters.cells, gradients["unlearn"], gradients["retention"])
    table = scored(recorder.record()).set_index("name")[list(SCORES)]
    return table.assign(located=tensors.groupby(_modules(tensors))["divergence"].max())


def _modules(table: pd.DataFrame) -> pd.Series[str]:
    """Return the module of each tensor of a table."""
    return table["name"].str.rsplit(".lora_", n=1).str[0]


def _fitting(work: Callable[..., Found], most: int, counter: Counter, adapters: Adapters, micro: MicroBatches) -> Found:
    """Go through a scope with work(size=…); where memory runs out, through all of it again in smaller micro-batches."""
    done = counter.done

    def undo() -> None:
        counter.done = done

    with micro.keeping(adapters):
        return micro.made(lambda: work(size=micro.within(most)), most, undo)


def _scope_gradient(
    adapters: Adapters,
    given: tuple[Sequence[Encoded], Targets],
    truth: tuple[str, Sequence[Encoded]],
    alone: bool,
    counter: Counter,
    recorder: Recorder | None,
    size: int,
) -> dict[str, torch.Tensor]:
    """Return G of a scope, recorded where that is wanted. alone: its true answers go through the model by themselves."""
    if recorder:
        recorder.begin(truth[0], len(given[0]))
    found = gradient(adapters, *given, size, counter, recorder)
    if recorder and alone:
        recorder.margins_alone(truth[1], size, counter.add, counter.group)
    return found


def perturbed(
    examples: Sequence[Encoded], config: LocalizeConfig, words: torch.Tensor, seed: int
) -> tuple[list[Encoded], Targets]:
    """Return the examples to run and a function giving their targets: (N,) or (N, copies) token ids.

    Draws depend on seed, example and copy only, never on batching.
    """
    if config.perturbation == "labels":

        def labels(example: Encoded) -> torch.Tensor:
            return torch.stack([_labels(example, copy, words, seed) for copy in range(config.copies)], 1)

        return list(examples), lambda members: torch.cat([labels(m) for m in members])
    copies = [_overwritten(e, c, words, seed) for e in examples for c in range(config.copies)]
    return copies, lambda members: torch.tensor([token for m in members for token in m.answer])


def _labels(example: Encoded, copy: int, words: torch.Tensor, seed: int) -> torch.Tensor:
    """Draw a label for every token of an answer but its end, which stays: where an answer stops is no part of what it says.

    So does the released code (zjunlp/KnowUnDo, pretrain/data_module.py:22-35).
    """
    count = len(example.answer) - example.ended
    drawn = torch.randint(len(words), (count,), generator=_generator(example, copy, seed))
    return torch.cat([words[drawn], torch.tensor(example.answer[count:], dtype=torch.long)])


def _overwritten(example: Encoded, copy: int, words: torch.Tensor, seed: int) -> Encoded:
    """Write floor(n/2) random tokens at positions drawn with replacement, into input and label (released code).

    n counts the answer's tokens without its end, which stays; an example that was cut may have a single one, or none.
    """
    source, n = _generator(example, copy, seed), len(example.answer) - example.ended
    positions = torch.randint(max(n, 1), (n // 2,), generator=source).tolist()
    tokens = words[torch.randint(len(words), (n // 2,), generator=source)].tolist()
    ids = list(example.ids)
    for position, token in zip(positions, tokens, strict=True):
        ids[example.start + position] = token
    return replace(example, id=f"{example.id}#{copy}", ids=tuple(ids))


def _generator(example: Encoded, copy: int, seed: int) -> torch.Generator:
    # Seven bytes, because a seed must stay below 2^63.
    digest = hashlib.sha256(f"{seed}/{example.id}/{copy}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def gradient(
    adapters: Adapters,
    members: Sequence[Encoded],
    targets: Targets,
    size: int,
    counter: Counter,
    recorder: Recorder | None = None,
) -> dict[str, torch.Tensor]:
    """Return G per cell, in float32 on the model's device: the mean over examples of their mean losses' gradients.

    recorder: watches the same passes; it has begun this scope.
    """
    names = [cell.name for cell in adapters.cells]
    with (
        adapters.trainable("before", names) as parameters,
        adapters.active("before") as model,
        recorder or contextlib.nullcontext(),
    ):
        mine = counter.group.shard(members, cost)
        sampled = recorder.sampled(by_length(mine, size)) if recorder else set()
        for number, (batch, labels) in enumerate(_batches(mine, targets, size, adapters.device)):
            counter.report.check()
            logits = answer_logits(model, batch)
            loss = _losses(logits, batch, labels).sum() / len(members)
            if recorder:
                recorder.backward(batch, loss, logits, margin=number in sampled)
            else:
                loss.backward()
            counter.add(len(batch), batch.ids.numel())
        gradients = dict(zip(names, counter.group.all_reduce([_taken(parameter) for parameter in parameters]), strict=True))
    broken = [name for name, g in gradients.items() if not torch.isfinite(g).all()]
    if broken:
        raise UserError(f"The gradient of {broken[0]} is not a number.", "Use dtype float32, or check the adapter.")
    return gradients


def _batches(
    members: Sequence[Encoded], targets: Targets, size: int, device: torch.device
) -> Iterator[tuple[Batch, torch.Tensor]]:
    for group in by_length(members, size):
        yield collate(group, device), targets(group).to(device)


def _losses(logits: torch.Tensor, batch: Batch, labels: torch.Tensor) -> torch.Tensor:
    return per_example(token_nll(logits, labels), batch.owners, len(batch))


def _taken(parameter: torch.nn.Parameter) -> torch.Tensor:
    grad = parameter.grad
    return torch.zeros_like(parameter) if grad is None else grad.detach().float().clone()


def statistics(cells: Sequence[Cell], unlearn: dict[str, torch.Tensor], retention: dict[str, torch.Tensor]) -> pd.DataFrame:
    """Return one row a tensor; a tensor without gradient has cos NaN and has_gradient False, never cos 0."""
    rows = []
    for cell in cells:
        u, r = unlearn[cell.name].flatten().double(), retention[cell.name].flatten().double()
        norm_u, norm_r = float(u.norm()), float(r.norm())
        live = norm_u > 0 and norm_r > 0
        cos = float(u @ r) / (norm_u * norm_r) if live else math.nan
        magnitude = float(u.abs().mean())
        rows.append(
            {
                "name": cell.name,
                "layer": cell.layer,
                "module": cell.module,
                "factor": cell.factor,
                "rows": cell.shape[0],
                "columns": cell.shape[1],
                "cos": cos,
                "mag_unlearn": magnitude,
                "mag_retain": float(r.abs().mean()),
                "norm_unlearn": norm_u,
                "norm_retain": norm_r,
                "divergence": (1 - cos) * magnitude,
                "has_gradient": live,
            }
        )
    return pd.DataFrame(rows)


def example_shares(
    adapters: Adapters,
    members: Sequence[Encoded],
    targets: Targets,
    total: dict[str, torch.Tensor],
    size: int,
    counter: Counter,
) -> pd.DataFrame:
    """Return each example's share of each cell's gradient: rows examples, columns cells; a column sums to 1.

    No per-example gradient is ever formed: <g_n, G_A> = Σ_t (s Bᵀδ_t)·(G_A x_t), and likewise for B, from the input x
    and the output gradient δ of each layer. Layers where that does not hold (fused experts) are done one by one.
    """
    shares = {name: np.zeros(len(members)) for name in total}
    row_of = {m.id: i for i, m in enumerate(members)}
    mine = counter.group.shard(members, cost)
    simple = [c.name for c in adapters.cells if not isinstance(adapters.layer(c.name), ParamWrapper)]
    rest = [c.name for c in adapters.cells if c.name not in set(simple)]
    with adapters.trainable("before", [c.name for c in adapters.cells]), adapters.active("before") as model:
        for batch, labels in _batches(mine, targets, size, adapters.device):
            counter.report.check()
            where = [row_of[m.id] for m in batch.members]
            with _Products(adapters, simple, total, batch) as products:
                _losses(answer_logits(model, batch), batch, labels).sum().backward()
            for name, values in products.values.items():
                shares[name][where] = values
            counter.add(len(batch), batch.ids.numel())
        # The batches left their sums in .grad; what follows reads one example's gradient there.
        _drop_gradients(adapters)
        if rest:
            _one_by_one(adapters, model, mine, row_of, targets, total, rest, shares, counter)
    summed = counter.group.all_reduce([torch.from_numpy(values) for values in shares.values()])
    shares = {name: values.numpy() for name, values in zip(shares, summed, strict=True)}
    norms = {name: float(g.double().norm() ** 2) * len(members) for name, g in total.items()}
    columns = {name: values / norms[name] for name, values in shares.items() if norms[name] > 0}
    table = pd.DataFrame(columns, index=[m.id for m in members])
    # Copies of one example (released code's perturbation) are one question to the user.
    return table.groupby(lambda key: key.split("#")[0], sort=False).sum()


class _Products:
    """While active, collects <g_n, G> of every example of a backward pass for plain LoRA layers."""

    def __init__(self, adapters: Adapters, cells: Sequence[str], total: dict[str, torch.Tensor], batch: Batch) -> None:
        self.adapters, self.total, self.batch = adapters, total, batch
        self.paths = sorted({cell.rsplit(".lora_", 1)[0] for cell in cells})
        self.values: dict[str, np.ndarray] = {}

    def __enter__(self) -> _Products:
        self.handles = [
            self.adapters.layer(f"{path}.lora_A").register_forward_hook(self._watch(path)) for path in self.paths
        ]
        return self

    def __exit__(self, *_: Any) -> None:
        for handle in self.handles:
            handle.remove()

    def _watch(self, path: str) -> Callable[..., None]:
        def after_forward(layer: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            x = for_the_way_back(args[0])
            output.register_hook(lambda delta: self._collect(path, layer, x(), delta))

        return after_forward

    @torch.no_grad()
    def _collect(self, path: str, layer: Any, x: torch.Tensor, delta: torch.Tensor) -> None:
        a, b, scale = layer.lora_A["before"].weight, layer.lora_B["before"].weight, layer.scaling["before"]
        x, delta = x.float(), delta.float()
        name_a, name_b = f"{path}.lora_A", f"{path}.lora_B"
        # Under autocast these products would be rounded to bfloat16, and an example's shares would no longer sum to 1.
        with torch.autocast(x.device.type, enabled=False):
            product_a = self._of_examples((delta @ b) * (x @ self.total[name_a].t())) * scale
            product_b = self._of_examples((delta @ self.total[name_b]) * (x @ a.t())) * scale
        self.values[name_a], self.values[name_b] = product_a.cpu().numpy(), product_b.cpu().numpy()

    def _of_examples(self, products: torch.Tensor) -> torch.Tensor:
        """Sum over positions and rank; (…, rank) -> (examples,). The output layer has answer positions alone."""
        flat = products.flatten(0, -2)
        if len(flat) == len(self.batch.owners) != self.batch.ids.numel():
            sums = products.new_zeros(len(self.batch))
            return sums.index_add_(0, self.batch.owners, flat.sum(1))
        # OPT flattens examples and positions before its feed-forward layers.
        return products.reshape(len(self.batch), -1).sum(1)


def _one_by_one(
    adapters: Adapters,
    model: Any,
    members: Sequence[Encoded],
    row_of: Mapping[str, int],
    targets: Targets,
    total: dict[str, torch.Tensor],
    cells: Sequence[str],
    shares: dict[str, np.ndarray],
    counter: Counter,
) -> None:
    for member in members:
        counter.report.check()
        batch = collate([member], adapters.device)
        _losses(answer_logits(model, batch), batch, targets([member]).to(adapters.device)).sum().backward()
        for name in cells:
            shares[name][row_of[member.id]] = float((_taken(adapters.tensor("before", name)) * total[name]).sum())
        _drop_gradients(adapters)


def _drop_gradients(adapters: Adapters) -> None:
    for parameter in adapters.tensors("before").values():
        parameter.grad = None


def top_contributions(shares: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return the TOP examples of each cell by share, largest first."""
    parts = []
    for name in table["name"]:
        if name in shares:
            best = shares[name].nlargest(TOP)
            parts.append(pd.DataFrame({"name": name, "example": best.index, "share": best.to_numpy()}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["name", "example", "share"])


class Counter:
    """Counts examples over the passes of this stage, which the processes of a group share."""

    def __init__(self, report: Reporter, total: int, group: Group = ALONE) -> None:
        """Begin with nothing done. total: of all processes together."""
        self.report, self.total, self.group, self.done = report, total, group, 0

    def add(self, count: int, tokens: int) -> None:
        """Count examples that went through one pass. Raises Cancelled where that is asked for."""
        self.report.check()
        self.done += count
        self.report.progress(
            self.group.counted(self.done, self.total), self.total, "examples", tokens=tokens * self.group.size
        )
