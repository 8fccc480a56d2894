"""A taught adapter that becomes a part of the base."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from core.config.stages import TeachConfig
from core.models import adapter_files, loading, merging
from core.models import adapters as adapters_
from core.serve.service import Service
from core.util.errors import UserError
from tests.naive import Bench
from tests.pipeline.test_pipeline import execute, small

IDS = torch.arange(3, 40)[None]


def logits(adapters: adapters_.Adapters, name: str | None) -> torch.Tensor:
    with adapters.active(name) as model, torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_merged_base_says_what_the_adapter_said(bench_of: Callable[..., Bench], architecture: str, tmp_path: Path) -> None:
    bench = bench_of(architecture)
    taught, never = logits(bench.adapters, "before"), logits(bench.adapters, None)
    bench.adapters.save("before", tmp_path, "tiny")
    fresh = merging.attach(bench.adapters.release(), "float32", tmp_path, TeachConfig(rank=4), seed=0)
    assert not torch.allclose(taught, never, atol=1e-2)
    assert torch.allclose(logits(fresh, "before"), taught, atol=1e-4)  # B is zero, so the fresh adapter says nothing
    assert torch.equal(logits(fresh, None), never)
    assert torch.allclose(logits(fresh, "before"), taught, atol=1e-4)  # and the merged weights are back
    base = fresh.release()
    with torch.no_grad():
        assert torch.equal(base(input_ids=IDS).logits, never)


def test_fused_experts_are_refused(bench_of: Callable[..., Bench], tmp_path: Path) -> None:
    bench = bench_of("mixtral")
    bench.adapters.save("before", tmp_path, "tiny")
    with pytest.raises(UserError, match="cannot be merged"):
        merging.attach(bench.adapters.release(), "float32", tmp_path, TeachConfig(rank=4), seed=0)


def test_whole_run_on_a_merged_base(tiny_of: Callable[[str], Path], tiny_data: Path, tmp_path: Path) -> None:
    config = small(tiny_of("llama"), tiny_data)
    plain, _ = execute(config, tmp_path)
    run, _ = execute(config.with_setting("teach.merge", "true"), tmp_path)
    stages = run.json("manifest.json")["stages"]
    assert stages["teach"]["reused"]
    # A fresh A: not the one that the taught adapter began with, whose rows hold what was taught.
    begun = adapters_.attach(loading.load(config.model).model, "float32", rank=4, alpha=8, dropout=0.0, seed=config.seed)
    fresh = adapter_files.read_adapter(run.path / "before")
    assert not any(
        torch.equal(fresh[cell.name], begun.tensor("before", cell.name)) for cell in begun.cells if cell.factor == "A"
    )
    assert not stages["localize"]["reused"]
    table, tokens, unmerged = run.table("localization"), run.table("tokens"), plain.table("tokens")
    assert set(table.loc[table["has_gradient"], "factor"]) == {"B"}
    pd.testing.assert_series_equal(tokens["logprob_never"], unmerged["logprob_never"])
    assert (tokens["logprob_before"] - unmerged["logprob_before"]).abs().max() < 1e-4
    assert (tokens["logprob_after"] - tokens["logprob_before"]).abs().max() > 1e-3

    service = Service()
    service.load(run, tmp_path)
    never = logits(service.adapters, None)
    service.load(plain, tmp_path)  # the same base, no longer merged
    assert torch.equal(logits(service.adapters, None), never)
    assert not torch.equal(logits(service.adapters, "after"), never)
