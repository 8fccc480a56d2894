"""The grid of adapter tensors, and arithmetic on adapters."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.config.stages import ModelConfig
from core.models import adapter_files, loading
from core.models import adapters as adapters_
from core.models.adapters import Adapters
from core.util.errors import UserError
from tests.naive import Bench, make_bench, randomize
from tests.tiny import ARCHITECTURES

GRID = {
    "llama": {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"}
    | {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
    "phi3": {"self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"},
    "gpt2": {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"},
    "gpt_neox": {"attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"},
    "opt": {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "fc1", "fc2"},
    "falcon": {"self_attention.query_key_value", "self_attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"},
}
for _name in ("qwen2", "qwen3", "mistral", "gemma2"):
    GRID[_name] = GRID["llama"]

IDS = torch.arange(3, 40)[None]


def logits(adapters: Adapters, name: str | None) -> torch.Tensor:
    with adapters.active(name) as model, torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.fixture
def two(bench: Bench) -> Adapters:
    """Return adapters before and after that differ in every cell."""
    bench.adapters.copy("before", "after")
    randomize(bench.adapters, "after", seed=2)
    return bench.adapters


@pytest.mark.parametrize("architecture", GRID)
def test_grid_of_dense_architectures(bench_of: Callable[..., Bench], architecture: str) -> None:
    cells = bench_of(architecture).adapters.cells
    expected = [(layer, module, factor) for layer in (0, 1) for module in sorted(GRID[architecture]) for factor in "AB"]
    assert sorted((c.layer, c.module, c.factor) for c in cells) == expected
    assert [c.layer for c in cells] == sorted(c.layer for c in cells)


@pytest.mark.parametrize("architecture", ["mixtral", "qwen3_moe"])
def test_grid_of_fused_experts(bench_of: Callable[..., Bench], architecture: str) -> None:
    adapters = bench_of(architecture).adapters
    assert not adapters.mixable
    for layer in (0, 1):
        modules = {c.module for c in adapters.cells if c.layer == layer}
        assert {"mlp.experts.gate_up_proj", "mlp.experts.down_proj", "self_attn.q_proj"} <= modules
    experts = [c for c in adapters.cells if c.module == "mlp.experts.down_proj"]
    assert [(c.layer, c.factor) for c in experts] == [(0, "A"), (0, "B"), (1, "A"), (1, "B")]
    assert all(4 * 4 in c.shape for c in experts)  # four experts with rank 4 each


def test_fused_experts_do_without_dropout(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of("mixtral", dropout=0.1)
    assert not any(
        isinstance(m, torch.nn.Dropout) and m.p > 0
        for m in bench.adapters._layers["model.layers.0.self_attn.q_proj"].modules()
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_cell_is_found_by_its_name(bench_of: Callable[..., Bench], architecture: str) -> None:
    adapters = bench_of(architecture).adapters
    assert len({c.name for c in adapters.cells}) == len(adapters.cells)
    for cell in adapters.cells:
        assert tuple(adapters.tensor("before", cell.name).shape) == cell.shape
        assert cell.shape[0 if cell.factor == "A" else 1] % 4 == 0
    total = sum(p.numel() for n, p in adapters.model.named_parameters() if "lora_" in n)
    assert sum(p.numel() for p in adapters.tensors("before").values()) == total


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_cell_matters(bench_of: Callable[..., Bench], architecture: str) -> None:
    adapters = bench_of(architecture).adapters
    before = logits(adapters, "before")
    for cell in adapters.cells:
        parameter = adapters.tensor("before", cell.name)
        kept = parameter.detach().clone()
        parameter.data.add_(0.5)
        assert not torch.equal(logits(adapters, "before"), before), cell.name
        parameter.data.copy_(kept)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_adapter_off_is_the_untouched_base(
    bench_of: Callable[..., Bench], tiny_of: Callable[[str], Path], architecture: str
) -> None:
    bench = bench_of(architecture)
    base = loading.load(ModelConfig(name=str(tiny_of(architecture)), device="cpu", dtype="float32")).model
    with torch.no_grad():
        expected = base(input_ids=IDS).logits
    torch.testing.assert_close(logits(bench.adapters, None), expected, rtol=0, atol=1e-6)
    assert not torch.allclose(logits(bench.adapters, "before"), expected, atol=1e-3)


def test_fresh_adapter_changes_nothing(bench_of: Callable[..., Bench]) -> None:
    adapters = bench_of("llama", live=False).adapters
    torch.testing.assert_close(logits(adapters, "before"), logits(adapters, None))
    assert all(bool(p.any()) == (".lora_A" in name) for name, p in adapters.tensors("before").items())


def test_fresh_adapter_is_seeded(tiny_llama: Path) -> None:
    def fresh(seed: int) -> str:
        model = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32")).model
        return adapters_.attach(model, "float32", rank=4, alpha=8, dropout=0.0, seed=seed).hash("before")

    assert fresh(1) == fresh(1) != fresh(2)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mixtral"])
def test_copy_is_exact_and_apart(bench_of: Callable[..., Bench], architecture: str) -> None:
    adapters = bench_of(architecture).adapters
    adapters.copy("before", "after")
    assert adapters.hash("after") == adapters.hash("before")
    torch.testing.assert_close(logits(adapters, "after"), logits(adapters, "before"), rtol=0, atol=0)
    adapters.tensor("after", adapters.cells[0].name).data.add_(1)
    assert adapters.hash("after") != adapters.hash("before")
    adapters.copy("before", "after")
    assert adapters.hash("after") == adapters.hash("before")


def test_a_copy_drops_nothing_out_while_nothing_trains(tiny_llama: Path, tiny_data: Path) -> None:
    made = make_bench(tiny_llama, tiny_data, dropout=0.5)
    made.adapters.copy("before", "after")
    ids = torch.tensor([made.unlearn[0].ids])
    with torch.no_grad():
        with made.adapters.active("before") as model:
            expected = model(input_ids=ids).logits
        with made.adapters.active("after") as model:
            logits = [model(input_ids=ids).logits for _ in range(2)]
    assert torch.equal(logits[0], expected)
    assert torch.equal(logits[1], expected)


def test_hash_changes_with_one_element(bench: Bench) -> None:
    first = bench.adapters.hash("before")
    parameter = bench.adapters.tensor("before", bench.adapters.cells[-1].name)
    parameter.data[0, 0] = torch.nextafter(parameter.data[0, 0], torch.tensor(9.0))
    assert bench.adapters.hash("before") != first


def test_blend_is_between_and_exact_at_its_ends(two: Adapters) -> None:
    for strength, other in ((0.0, "before"), (1.0, "after")):
        two.blend("mix", strength)
        assert two.hash("mix") == two.hash(other)
    two.blend("mix", 0.25)
    for name, value in two.tensors("mix").items():
        expected = 0.75 * two.tensor("before", name) + 0.25 * two.tensor("after", name)
        torch.testing.assert_close(value, expected)


def test_revert_puts_back_exactly_the_given_cells(two: Adapters) -> None:
    chosen = {two.cells[3].name, two.cells[8].name}
    two.revert("partly", chosen)
    for cell in two.cells:
        source = "before" if cell.name in chosen else "after"
        assert torch.equal(two.tensor("partly", cell.name), two.tensor(source, cell.name))
    two.revert("partly", [c.name for c in two.cells])
    assert two.hash("partly") == two.hash("before")


def test_dropped_adapter_is_gone(two: Adapters) -> None:
    two.drop("after")
    assert two.names == ["before"]
    with pytest.raises(UserError, match="no adapter"), two.active("after"):
        pass


def test_unknown_names_are_refused(bench: Bench) -> None:
    with pytest.raises(UserError, match="Did you mean “before”"), bench.adapters.active("befor"):
        pass
    with pytest.raises(UserError, match="no tensor"):
        bench.adapters.tensor("before", "model.layers.0.nothing.lora_A")


def test_wrong_shape_is_refused(bench: Bench) -> None:
    with pytest.raises(UserError, match="has shape"):
        bench.adapters.set("before", {bench.adapters.cells[0].name: torch.zeros(1, 1)})


def test_adapters_are_kept_apart_when_switching(two: Adapters) -> None:
    before, after = logits(two, "before"), logits(two, "after")
    assert not torch.allclose(before, after, atol=1e-3)
    torch.testing.assert_close(logits(two, "before"), before, rtol=0, atol=0)
    with pytest.raises(ZeroDivisionError), two.active("after"):
        raise ZeroDivisionError
    torch.testing.assert_close(logits(two, "before"), before, rtol=0, atol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("pick", [slice(0, None), slice(5, 6), slice(-3, None, 2)])
def test_exactly_the_region_gets_gradients(bench_of: Callable[..., Bench], architecture: str, pick: slice) -> None:
    adapters = bench_of(architecture).adapters
    adapters.copy("before", "after")
    region = [c.name for c in adapters.cells][pick]
    with adapters.trainable("after", region) as parameters, adapters.active("after") as model:
        with adapters.active(None):  # a look at the never-taught model within a step
            model(input_ids=IDS)
        model(input_ids=IDS).logits.square().sum().backward()
        assert len(parameters) == len(region)
        touched = {n for n, p in adapters.tensors("after").items() if p.grad is not None and p.grad.any()}
        assert touched == set(region)
        others = [p for p in model.parameters() if not any(p is q for q in parameters)]
        assert all(p.grad is None and not p.requires_grad for p in others)
    assert all(p.grad is None and not p.requires_grad for p in adapters.model.parameters())


def test_backward_stops_at_the_lowest_layer_of_the_region(bench: Bench) -> None:
    wanted = {}

    def watch(layer: int) -> None:
        path = f"model.layers.{layer}.mlp.down_proj.lora_A"
        module = bench.adapters.layer(path)
        module.register_forward_hook(lambda _m, _x, y: wanted.__setitem__(layer, y.requires_grad))  # type: ignore[operator]

    watch(0)
    watch(1)
    region = [c.name for c in bench.adapters.cells if c.layer == 1]
    with bench.adapters.trainable("before", region), bench.adapters.active("before") as model:
        model(input_ids=IDS)
    assert wanted == {0: False, 1: True}


def test_nothing_is_trainable_after_an_error(bench: Bench) -> None:
    names = [c.name for c in bench.adapters.cells]
    with pytest.raises(ZeroDivisionError), bench.adapters.trainable("before", names):
        raise ZeroDivisionError
    assert not any(p.requires_grad for p in bench.adapters.model.parameters())


# -- files


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_adapter_comes_back_exactly(
    bench_of: Callable[..., Bench], tiny_of: Callable[[str], Path], tmp_path: Path, architecture: str
) -> None:
    bench = bench_of(architecture)
    bench.adapters.save("before", tmp_path, str(tiny_of(architecture)))
    model = loading.load(ModelConfig(name=str(tiny_of(architecture)), device="cpu", dtype="float32")).model
    again = adapters_.load(model, "float32", tmp_path)
    assert [c.name for c in again.cells] == [c.name for c in bench.adapters.cells]
    assert again.hash("before") == bench.adapters.hash("before")
    torch.testing.assert_close(logits(again, "before"), logits(bench.adapters, "before"), rtol=0, atol=0)


def test_rounded_adapter_takes_half_the_space_and_loses_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.adapters.round_to_bfloat16("before")
    bench.adapters.save("before", tmp_path, "base")
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert {v.dtype for v in stored.values()} == {torch.bfloat16}
    assert all(
        torch.equal(stored[f"base_model.model.{n}.weight"].float(), p) for n, p in bench.adapters.tensors("before").items()
    )


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_peft_reads_a_saved_adapter(bench: Bench, tiny_llama: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    bench.adapters.save("before", tmp_path, str(tiny_llama))
    base = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32")).model
    with torch.no_grad():
        other = PeftModel.from_pretrained(base, tmp_path)(input_ids=IDS).logits
    torch.testing.assert_close(other, logits(bench.adapters, "before"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("architecture", ["qwen3", "gpt2", "mixtral"])
def test_adapter_of_another_base_is_refused(
    bench: Bench, tiny_of: Callable[[str], Path], tmp_path: Path, architecture: str
) -> None:
    bench.adapters.save("before", tmp_path, "base")
    model = loading.load(ModelConfig(name=str(tiny_of(architecture)), device="cpu", dtype="float32")).model
    if architecture == "qwen3":  # the same module names, so only the sizes can tell
        values = load_file(tmp_path / "adapter_model.safetensors")
        save_file(
            {n: torch.cat([v, v], 0 if "lora_B" in n else 1) for n, v in values.items()},
            tmp_path / "adapter_model.safetensors",
        )
    with pytest.raises(UserError, match=r"does not fit this base|lacks"):
        adapters_.load(model, "float32", tmp_path)


def test_incomplete_adapter_is_refused(bench: Bench, tiny_llama: Path, tmp_path: Path) -> None:
    bench.adapters.save("before", tmp_path, "base")
    values = load_file(tmp_path / "adapter_model.safetensors")
    values.pop(next(iter(values)))
    save_file(values, tmp_path / "adapter_model.safetensors")
    model = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32")).model
    with pytest.raises(UserError, match="lacks 1 tensors"):
        adapters_.load(model, "float32", tmp_path)


@pytest.mark.parametrize(
    ("setting", "tensor", "match"),
    [
        ({"use_dora": True}, None, "more than low-rank factors"),
        ({"init_lora_weights": "pissa"}, None, "changes its base"),
        ({}, "lora_magnitude_vector", "more than low-rank factors"),
        ({"lora_bias": True}, "lora_B.bias", "more than low-rank factors"),
    ],
)
def test_adapter_that_is_more_than_two_factors_is_refused(
    bench: Bench, tiny_llama: Path, tmp_path: Path, setting: dict[str, Any], tensor: str | None, match: str
) -> None:
    """Left alone, a magnitude or a changed base would belong to before and not to after, or to neither."""
    bench.adapters.save("before", tmp_path, "base")
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | setting), encoding="utf-8")
    if tensor:
        values = load_file(tmp_path / "adapter_model.safetensors")
        first = next(iter(values)).partition(".lora_")[0]
        save_file({**values, f"{first}.{tensor}": torch.ones(3)}, tmp_path / "adapter_model.safetensors")
    model = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32")).model
    with pytest.raises(UserError, match=match):
        adapters_.load(model, "float32", tmp_path)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]"])
def test_damaged_adapter_is_one_sentence(
    bench: Bench, tiny_llama: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    bench.adapters.save("before", tmp_path, "base")
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    model = loading.load(ModelConfig(name=str(tiny_llama), device="cpu", dtype="float32")).model
    with pytest.raises(UserError, match="cannot be read"):
        adapters_.load(model, "float32", tmp_path)


def test_adapter_config_names_base_and_settings(bench: Bench, tmp_path: Path) -> None:
    bench.adapters.save("before", tmp_path, "some/base")
    values = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert (values["base_model_name_or_path"], values["r"], values["lora_alpha"]) == ("some/base", 4, 8.0)


def test_tensors_are_written_in_float32_where_bfloat16_would_lose(tmp_path: Path) -> None:
    values = {"exact": torch.tensor([1.5, -2.0]), "fine": torch.tensor([1.0 + 2**-20])}
    adapter_files.write_tensors(values, tmp_path / "t.safetensors")
    stored = load_file(tmp_path / "t.safetensors")
    assert (stored["exact"].dtype, stored["fine"].dtype) == (torch.bfloat16, torch.float32)
    again = adapter_files.read_tensors(tmp_path / "t.safetensors")
    assert all(torch.equal(again[n], v) and again[n].dtype == torch.float32 for n, v in values.items())


def test_damaged_tensor_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "t.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read"):
        adapter_files.read_tensors(tmp_path / "t.safetensors")


def test_full_disk_is_one_sentence(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UserError, match="cannot be written"):
            adapter_files.write_tensors({"a": torch.randn(1000)}, tmp_path / "t.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_content_hash_ignores_order_and_storage_format() -> None:
    a, b = torch.tensor([1.5]), torch.tensor([[2.0]])
    first = adapter_files.content_hash({"a": a, "b": b})
    assert first == adapter_files.content_hash({"b": b.to(torch.bfloat16), "a": a})
    assert first != adapter_files.content_hash({"a": b, "b": a})


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mixtral"])
def test_voices_can_be_switched_inside_one_another(bench_of: Callable[..., Bench], architecture: str) -> None:
    """A training step under "after" asks "before" and the base for their opinion, and then goes on as "after"."""
    adapters = bench_of(architecture).adapters
    adapters.copy("before", "after")
    randomize(adapters, "after", seed=2)
    alone = {name: logits(adapters, name) for name in ("before", "after", None)}
    assert not torch.equal(alone["before"], alone[None])
    with adapters.active("after") as model, torch.no_grad():
        for name in ("before", None):
            assert torch.equal(logits(adapters, name), alone[name])
            assert torch.equal(model(input_ids=IDS).logits, alone["after"])
