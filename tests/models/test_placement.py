"""Bases whose weights are rounded, or do not fit into memory: the same numbers as from plain weights, and nothing kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from core.config.stages import LocalizeConfig, ModelConfig
from core.models import adapters as adapters_
from core.models import loading, placement
from core.models.adapters import Adapters
from core.models.likelihood import answer_logits, mean_loss
from core.models.placement import ROUNDED
from core.models.quantized import Quantized, parameters
from core.models.tokens import collate
from core.pipeline import localize
from core.util.errors import UserError
from core.util.progress import Reporter
from tests.naive import Bench, randomize
from tests.pipeline.test_pipeline import execute, small


def on(name: Path, **settings: str) -> Adapters:
    """Load a tiny model and put the same live adapter on it, however its weights are kept."""
    loaded = loading.load(ModelConfig(name=str(name), **{"device": "cpu", "dtype": "float32", **settings}))
    made = adapters_.attach(loaded.model, "float32", rank=4, alpha=8.0, dropout=0.0, seed=0)
    randomize(made, "before", seed=1)
    return made


def grid(adapters: Adapters, bench: Bench) -> dict[str, torch.Tensor]:
    """Return the numbers of the localization's table, column by column."""
    localization = localize.localize(
        adapters,
        bench.unlearn,
        bench.retention,
        LocalizeConfig(copies=2, batch_size=4),
        held={},
        words=bench.words,
        seed=4,
        report=Reporter(),
    )
    return {
        name: torch.tensor(localization.table[name].to_numpy(float)) for name in ("cos", "mag_unlearn", "norm_retain", "auc")
    }


def assert_same(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(actual[name], values, rtol=1e-4, atol=1e-6, err_msg=name)


def rounded_copy(model: Path, target: Path, bits: int, group: int) -> Path:
    """Copy a tiny Llama with every matrix of its layers rounded, one row and one group at a time."""
    shutil.copytree(model, target)
    weights = load_file(model / "model.safetensors")
    most = 2 ** (bits - 1) - 1
    for name, weight in weights.items():
        if weight.ndim == 2 and ".layers." in name:
            for row in weight:
                for part in row.split(group or len(row)):
                    step = float(part.abs().max()) / most
                    part.copy_(torch.round(part / step) * step)
    save_file(weights, target / "model.safetensors", {"format": "pt"})
    return target


@pytest.mark.parametrize("weights", ROUNDED)
def test_rounded_base_localizes_as_the_plain_model_with_rounded_weights(
    tiny_llama: Path, bench: Bench, tmp_path: Path, weights: str
) -> None:
    adapters = on(tiny_llama, weights=weights)
    expected = on(rounded_copy(tiny_llama, tmp_path / "rounded", *ROUNDED[weights]))
    assert_same(grid(adapters, bench), grid(expected, bench))
    assert all(p.dtype == torch.float32 for p in adapters.tensors("before").values())
    assert parameters(adapters.model) == parameters(expected.model)
    layers = [m for m in adapters.model.modules() if isinstance(m, Quantized)]
    assert len(layers) == len(adapters.cells) // 2
    assert sum(layer.bytes for layer in layers) < sum(4 * layer.shape.numel() for layer in layers) / 3


def test_backward_keeps_no_weight_of_a_rounded_base(tiny_llama: Path, bench: Bench) -> None:
    adapters = on(tiny_llama, weights="8bit")
    shapes = {tuple(m.shape) for m in adapters.model.modules() if isinstance(m, Quantized)}
    kept: list[tuple[int, ...]] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    names = [cell.name for cell in adapters.cells]
    batch = collate(bench.unlearn)
    with adapters.trainable("before", names) as cells, adapters.active("before") as model:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = mean_loss(answer_logits(model, batch), batch)
        loss.backward()
        assert all(p.grad is not None and p.grad.any() for p in cells)
    assert kept
    assert not shapes & set(kept)
    assert not shapes & {shape[::-1] for shape in kept}


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("weights", ROUNDED)
def test_whole_run_on_a_rounded_base(
    tiny_of: Callable[[str], Path], tiny_data: Path, tmp_path: Path, architecture: str, weights: str
) -> None:
    run, result = execute(small(tiny_of(architecture), tiny_data, model__weights=weights), tmp_path)
    assert result["located"]["count"] > 0
    assert weights in run.json("manifest.json")["model"]["note"]
    region = load_file(run.path / "after" / "region.safetensors")
    assert all(value.dtype in (torch.float32, torch.bfloat16) for value in region.values())


LITTLE = "120000"
"""bytes: room for the embeddings and one of the tiny model's two layers"""


def test_spread_model_localizes_as_the_whole_one(tiny_llama: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = grid(on(tiny_llama), bench)
    monkeypatch.setenv("FORGETSCOPE_MEMORY_LIMIT", LITTLE)
    spread = on(tiny_llama, device="spread")
    assert set(spread.model.get_base_model().hf_device_map.values()) == {"cpu", "disk"}  # type: ignore[union-attr]
    assert spread.device.type == "cpu"
    assert {p.device.type for p in spread.tensors("before").values()} == {"cpu"}
    assert_same(grid(spread, bench), expected)
    spread.copy("before", "after")
    assert spread.hash("before") == spread.hash("after")


def test_whole_run_of_a_spread_model(
    tiny_llama: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORGETSCOPE_MEMORY_LIMIT", LITTLE)
    run, result = execute(small(tiny_llama, tiny_data, model__device="spread"), tmp_path)
    assert result["located"]["count"] > 0
    assert (run.path / "after" / "region.safetensors").exists()


def test_what_cannot_be_combined_is_refused(
    tiny_of: Callable[[str], Path], tiny_llama: Path, tiny_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="spread needs"):
        placement.check(ModelConfig(device="spread", weights="4bit"), "cpu")
    with pytest.raises(UserError, match="experts"):
        loading.load(ModelConfig(name=str(tiny_of("mixtral")), weights="8bit", device="cpu"))
    with pytest.raises(UserError, match="cannot be merged"):
        execute(small(tiny_llama, tiny_data, model__weights="8bit", teach__merge=True), tmp_path)
