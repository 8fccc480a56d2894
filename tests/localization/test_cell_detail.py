"""What is inside a cell, against loops over its elements and over the model's own heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from core.config.stages import LocalizeConfig
from core.localization import cell_detail
from core.models.adapters import Cell
from core.pipeline.localize import localize
from tests.naive import Bench, Recorder
from tests.tiny import SETTINGS

SCOPES = ("unlearn", "retention")


def config_of(bench: Bench) -> object:
    return bench.adapters.model.get_base_model().config


def random_gradients(cells: list[Cell]) -> dict[str, dict[str, torch.Tensor]]:
    source = torch.Generator().manual_seed(0)
    return {scope: {c.name: torch.randn(c.shape, generator=source) for c in cells} for scope in SCOPES}


def cut(detail: dict[str, np.ndarray], kind: str, index: int) -> Iterator[tuple[str, np.ndarray]]:
    start, end = detail[f"{kind}_offsets"][index : index + 2]
    for scope in SCOPES:
        yield scope, detail[f"{kind}s_{scope}"][start:end]


def test_details_are_rms_profiles_and_histograms(bench: Bench) -> None:
    cells = bench.adapters.cells[:5]
    both = random_gradients(cells)
    detail = cell_detail.details(cells, both, config_of(bench))
    for index, cell in enumerate(cells):
        for scope, rows in cut(detail, "row", index):
            np.testing.assert_allclose(rows, np.sqrt((both[scope][cell.name].numpy() ** 2).mean(1)), rtol=1e-5)
        for scope, columns in cut(detail, "column", index):
            np.testing.assert_allclose(columns, np.sqrt((both[scope][cell.name].numpy() ** 2).mean(0)), rtol=1e-5)
        limit = detail["range"][index]
        assert limit == pytest.approx(max(float(tensors[cell.name].abs().max()) for tensors in both.values()))
        for scope, tensors in both.items():
            g = tensors[cell.name].numpy()
            assert detail[f"histogram_{scope}"][index].sum() == g.size
            expected, _ = np.histogram(g, cell_detail.BINS, (-limit, limit))
            assert np.abs(detail[f"histogram_{scope}"][index] - expected).sum() <= 2


def test_heads_of_grouped_query_attention_equal_a_loop_over_elements(bench: Bench) -> None:
    cells = bench.adapters.cells
    both = random_gradients(cells)
    detail = cell_detail.details(cells, both, config_of(bench))
    assert len(detail["head_offsets"]) == len(cells) + 1
    heads_of = {("q_proj", "B"): 4, ("k_proj", "B"): 2, ("v_proj", "B"): 2, ("o_proj", "A"): 4}
    for index, cell in enumerate(cells):
        wanted = heads_of.get((cell.module.rpartition(".")[2], cell.factor), 0)
        for scope, heads in cut(detail, "head", index):
            assert len(heads) == wanted, cell.name
            g = both[scope][cell.name].numpy()
            for h in range(wanted):
                block = g[h * 8 : (h + 1) * 8] if cell.factor == "B" else g[:, h * 8 : (h + 1) * 8]
                assert heads[h] == pytest.approx(np.sqrt(np.mean(block**2)), rel=1e-5)


def test_localization_writes_heads(bench: Bench) -> None:
    detail = localize(
        bench.adapters,
        bench.unlearn,
        bench.retention,
        LocalizeConfig(copies=1),
        held={},
        words=bench.words,
        seed=0,
        report=Recorder(),
    ).detail
    assert (
        len(detail["heads_unlearn"]) == len(detail["heads_retention"]) == len(detail["head_labels"]) == 2 * (4 + 2 + 2 + 4)
    )
    assert (detail["heads_unlearn"] > 0).all()


@pytest.mark.parametrize(
    ("architecture", "module", "labels"),
    [
        ("phi3", "self_attn.qkv_proj", "q0 q1 q2 q3 k0 k1 v0 v1"),
        ("gpt2", "attn.c_attn", "q0 q1 q2 q3 k0 k1 k2 k3 v0 v1 v2 v3"),
        ("gpt_neox", "attention.query_key_value", "q0 k0 v0 q1 k1 v1 q2 k2 v2 q3 k3 v3"),
        ("falcon", "self_attention.query_key_value", "q0 q1 q2 q3 k0 v0"),
        ("opt", "self_attn.k_proj", "0 1 2 3"),
        ("qwen3", "self_attn.v_proj", "0 1"),
    ],
)
def test_layouts(bench_of: Callable[..., Bench], architecture: str, module: str, labels: str) -> None:
    bench = bench_of(architecture)
    cell = next(c for c in bench.adapters.cells if (c.module, c.factor) == (module, "B"))
    assert cell_detail.head_labels(cell, config_of(bench)) == labels.split()


@pytest.mark.parametrize("architecture", ["llama", "phi3", "gpt2", "gpt_neox", "falcon", "opt", "mixtral"])
def test_layer_after_attention_has_heads_in_its_columns(bench_of: Callable[..., Bench], architecture: str) -> None:
    bench = bench_of(architecture)
    with_heads = [c.module for c in bench.adapters.cells if c.factor == "A" and cell_detail.head_labels(c, config_of(bench))]
    assert len(with_heads) == 2  # one a layer
    assert "att" in with_heads[0]


def test_falcon_has_three_layouts() -> None:
    def labels(rows: int, **changes: object) -> list[str]:
        config = AutoConfig.for_model("falcon", **SETTINGS["falcon"], **changes)
        return cell_detail.head_labels(Cell("", 0, "self_attention.query_key_value", "B", (rows, 4)), config)

    assert labels(96, multi_query=False)[:4] == ["q0", "k0", "v0", "q1"]
    grouped = labels(64, new_decoder_architecture=True, num_kv_heads=2)
    assert grouped == ["q0", "q1", "k0", "v0", "q2", "q3", "k1", "v1"]


@pytest.mark.parametrize(
    "cell",
    [
        Cell("", 0, "mlp.up_proj", "B", (32, 4)),
        Cell("", 0, "mlp.c_proj", "A", (4, 32)),
        Cell("", 0, "self_attn.q_a_proj", "B", (32, 4)),
        Cell("", 0, "self_attn.q_proj", "A", (4, 32)),
        Cell("", 0, "self_attn.q_proj", "B", (40, 4)),
        Cell("", -1, "lm_head", "B", (300, 4)),
    ],
    ids=["mlp", "mlp-out", "latent", "other-factor", "other-size", "head-of-the-model"],
)
def test_unknown_layouts_have_no_heads(bench: Bench, cell: Cell) -> None:
    assert cell_detail.head_labels(cell, config_of(bench)) == []
