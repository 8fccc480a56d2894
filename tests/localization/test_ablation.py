"""The causal map, against passes through the whole model without one module's update."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from core.localization.ablation import ablation, without
from core.localization.facts import Flags
from core.models.tokens import Encoded
from core.util.errors import Cancelled
from tests.localization.test_scores import flags_of, modules
from tests.naive import Bench, Recorder, make_bench


@pytest.fixture
def deep(deep_tiny_of: Callable[[str], Path], tiny_data: Path) -> Callable[[str], tuple[Bench, Flags]]:
    def made(architecture: str) -> tuple[Bench, Flags]:
        bench = make_bench(deep_tiny_of(architecture), tiny_data)
        return bench, flags_of(bench, tiny_data)

    return made


def said(bench: Bench, members: list[Encoded], flags: Flags) -> float:
    """Return the mean of fact tokens' log-probabilities through peft's own layers, one example at a time."""
    means = []
    for m in members:
        if not any(flags[m.id]):
            continue
        logits: Any = bench.adapters.model(input_ids=torch.tensor([m.ids])).logits[0]
        logprobs = torch.log_softmax(logits[m.start - 1 : -1], -1)
        picked = [float(logprobs[i, t]) for i, (t, flag) in enumerate(zip(m.answer, flags[m.id], strict=True)) if flag]
        means.append(fmean(picked))
    return fmean(means)


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mixtral"])
def test_drops_are_those_of_whole_passes(deep: Callable[[str], tuple[Bench, Flags]], architecture: str) -> None:
    bench, flags = deep(architecture)
    table = ablation(bench.adapters, bench.unlearn[:5], bench.retention[:4], flags).set_index("name")
    assert list(table.index) == modules(bench.adapters)
    bench.adapters.model.set_adapter("before")
    scopes = (bench.unlearn[:5], bench.retention[:4])
    whole = [said(bench, scope, flags) for scope in scopes]
    for name in table.index:
        with without(bench.adapters, [name]):
            drops = [a - said(bench, scope, flags) for a, scope in zip(whole, scopes, strict=True)]
        assert table.loc[name, "drop_unlearn"] == pytest.approx(drops[0], abs=2e-5)
        assert table.loc[name, "drop_retain"] == pytest.approx(drops[1], abs=2e-5)
        assert table.loc[name, "difference"] == pytest.approx(drops[0] - drops[1], abs=4e-5)
    assert float(table["drop_unlearn"].abs().min()) > 0


def test_lower_layers_are_not_run_again(deep: Callable[[str], tuple[Bench, Flags]]) -> None:
    bench, flags = deep("llama")
    passes = [0] * 4

    def count(layer: int) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            passes[layer] += 1

        return hook

    # Of a block: what stands in for it while it is idle does not run its norm.
    handles = [block.input_layernorm.register_forward_hook(count(i)) for i, block in enumerate(bench.adapters.blocks())]
    ablation(bench.adapters, bench.unlearn[:2], bench.retention[:2], flags)
    for handle in handles:
        handle.remove()
    each = len(modules(bench.adapters)) // 4
    # Once as a whole, then for each module of this layer and those below it; two for the trial of each of three prefixes,
    # and one for what lies below those that begin above.
    assert passes == [1 + each * (layer + 1) + 2 * 3 + (3 - layer) for layer in range(4)]


def test_everything_is_put_back_also_when_it_is_stopped(deep: Callable[[str], tuple[Bench, Flags]]) -> None:
    bench, flags = deep("llama")
    before = bench.adapters.hash("before")
    ablation(bench.adapters, bench.unlearn[:3], bench.retention[:3], flags)
    assert bench.adapters.hash("before") == before
    with pytest.raises(Cancelled):
        ablation(bench.adapters, bench.unlearn[:3], bench.retention[:3], flags, report=Recorder(stop_at=9))
    assert bench.adapters.hash("before") == before
    assert not any("forward" in block.__dict__ for block in bench.adapters.blocks())


def test_the_map_does_not_depend_on_the_scale_of_the_factors(deep: Callable[[str], tuple[Bench, Flags]]) -> None:
    bench, flags = deep("llama")
    first = ablation(bench.adapters, bench.unlearn[:3], bench.retention[:3], flags)
    for cell in bench.adapters.cells:
        bench.adapters.tensor("before", cell.name).data.mul_(4.0 if cell.factor == "A" else 0.25)
    second = ablation(bench.adapters, bench.unlearn[:3], bench.retention[:3], flags)
    assert second["difference"].tolist() == first["difference"].tolist()


def test_what_has_no_update_costs_nothing_to_remove(deep: Callable[[str], tuple[Bench, Flags]]) -> None:
    bench, flags = deep("llama")
    dead = modules(bench.adapters)[3]
    bench.adapters.tensor("before", f"{dead}.lora_B").data.zero_()
    table = ablation(bench.adapters, bench.unlearn[:3], bench.retention[:3], flags).set_index("name")
    assert table.loc[dead, "drop_unlearn"] == pytest.approx(0, abs=1e-6)
    assert table.loc[dead, "drop_retain"] == pytest.approx(0, abs=1e-6)
