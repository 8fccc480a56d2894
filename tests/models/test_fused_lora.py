"""The fused LoRA layer against peft's own, and batches of several adapters against one adapter at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from core.models.fused_lora import fused, mixed, suits
from tests.naive import Bench, randomize
from tests.tiny import ARCHITECTURES


class Net(torch.nn.Module):
    """Two linear layers, with and without bias, between which a nonlinearity stands."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(12, 20, bias=True)
        self.second = torch.nn.Linear(20, 7, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


@pytest.fixture
def net() -> Any:
    """Return the net with a live adapter of rank 3 whose cells want gradients."""
    torch.manual_seed(0)
    made = get_peft_model(Net(), LoraConfig(r=3, lora_alpha=5, target_modules=["first", "second"]), adapter_name="before")  # type: ignore[arg-type]
    for parameter in made.parameters():
        if parameter.requires_grad:
            parameter.data.normal_()
    return made


def assert_equal(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Compare to 1e-6 of each tensor's norm."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert float((actual[name] - value).norm()) <= 1e-6 * float(value.norm()), name


def outcome(net: Any, x: torch.Tensor, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return output and all gradients, the input's included, of a weighted sum."""
    x = x.clone().requires_grad_(True)
    net.zero_grad()
    y = net(x)
    (y * weight).sum().backward()
    assert x.grad is not None
    return {"y": y.detach(), "x": x.grad} | {n: p.grad.clone() for n, p in net.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("shape", [(4, 12), (2, 5, 12), (1, 1, 12), (2, 3, 2, 12)])
def test_fused_layer_equals_pefts(net: Any, shape: tuple[int, ...]) -> None:
    x, weight = torch.randn(shape), torch.randn(*shape[:-1], 7)
    expected = outcome(net, x, weight)
    with fused(net, "before", "float32"):
        actual = outcome(net, x, weight)
    assert len(expected) == 6
    assert_equal(actual, expected)


def test_fused_layer_takes_strided_input(net: Any) -> None:
    x, weight = torch.randn(5, 2, 12).transpose(0, 1), torch.randn(2, 5, 7)
    expected = outcome(net, x, weight)
    with fused(net, "before", "float32"):
        actual = outcome(net, x, weight)
    assert_equal(actual, expected)


def test_output_may_be_changed_in_place(net: Any) -> None:
    x = torch.randn(3, 12)
    with fused(net, "before", "float32"):
        y = net(x)
        y += 1
        y.sum().backward()
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)


def test_bfloat16_weights_stay_close_to_float32(net: Any) -> None:
    x, weight = torch.randn(6, 12), torch.randn(6, 7)
    expected = outcome(net, x, weight)
    with torch.autocast("cpu", torch.bfloat16), fused(net, "before", "autocast"):
        actual = outcome(net, x, weight)
    assert all(actual[n].dtype == torch.float32 for n in actual if "lora" in n)
    for name, value in expected.items():
        assert (actual[name].float() - value).norm() < 0.03 * value.norm(), name


def test_pefts_forward_comes_back(net: Any) -> None:
    x = torch.randn(3, 12)
    expected = net(x)
    with pytest.raises(ZeroDivisionError), fused(net, "before", "float32"):
        raise ZeroDivisionError
    assert not any("forward" in module.__dict__ for module in net.modules())
    assert torch.equal(net(x), expected)


def test_active_dropout_stays_with_peft() -> None:
    made = get_peft_model(Net(), LoraConfig(r=3, lora_dropout=0.5, target_modules=["first"]), adapter_name="before")  # type: ignore[arg-type]
    layer: Any = made.base_model.model.first
    made.train()
    assert not suits(layer, "before")
    made.eval()
    assert suits(layer, "before")
    assert not suits(layer, "another")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_whole_model_equals_peft(bench_of: Callable[..., Bench], architecture: str) -> None:
    adapters = bench_of(architecture).adapters
    ids = torch.arange(3, 60).view(3, 19)
    with torch.no_grad():
        expected = adapters.model(input_ids=ids).logits
        with adapters.active("before") as model:
            logits = model(input_ids=ids).logits
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("architecture", [a for a in ARCHITECTURES if "mix" not in a and "moe" not in a])
def test_mixed_batch_equals_separate_adapters(bench_of: Callable[..., Bench], architecture: str) -> None:
    adapters = bench_of(architecture).adapters
    adapters.copy("before", "after")
    randomize(adapters, "after", seed=5)
    ids = torch.arange(3, 123).view(6, 20)
    groups: list[tuple[str | None, slice]] = [(None, slice(0, 1)), ("before", slice(1, 4)), ("after", slice(4, 6))]
    with torch.no_grad():
        expected = []
        for name, rows in groups:
            with adapters.active(name) as model:
                expected.append(model(input_ids=ids[rows]).logits)
        with mixed(adapters.model, groups):
            logits = adapters.model(input_ids=ids).logits
    torch.testing.assert_close(logits, torch.cat(expected), rtol=1e-5, atol=5e-6)
    assert not any("forward" in module.__dict__ for module in adapters.model.modules())
