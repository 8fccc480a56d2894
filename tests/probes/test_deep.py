"""The expensive probes: rounded weights against a naive rounding, and copies that are trained while the run stays as it
is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core.models import loading
from core.models.adapters import Adapters
from core.models.quantized import Quantized, packed, quantized, unpacked
from core.probes import PROBES, chosen
from core.probes.base import Finding
from core.probes.context import ProbeContext, open_context
from core.probes.relearning import points
from core.probes.trained_copy import COPY, add_copy
from core.runs.store import Run
from core.runs.voices import SPOKEN
from core.util.errors import Cancelled
from core.util.progress import Reporter
from tests.naive import Bench as Tiny
from tests.naive import Recorder, make_bench, plain_model, randomize

DEEP = ("quantization", "relearning", "benign")
QUICK = {
    "quantization.questions": 3,
    "relearning.steps": 3,
    "relearning.questions": 3,
    "relearning.taught": 2,
    "benign.steps": 3,
    "benign.questions": 3,
    "benign.taught": 4,
}


def naive_rounding(weight: torch.Tensor, bits: int, group: int) -> torch.Tensor:
    """Round a weight group by group, number by number."""
    most, rounded = 2 ** (bits - 1) - 1, weight.clone()
    for row in range(weight.shape[0]):
        for start in range(0, weight.shape[1], group or weight.shape[1]):
            part = weight[row, start : start + (group or weight.shape[1])]
            step = max(float(part.abs().max()) / most, torch.finfo(torch.float32).tiny)
            for k, value in enumerate(part.tolist()):
                rounded[row, start + k] = round(value / step) * step
    return rounded


@pytest.mark.parametrize(("bits", "group"), [(8, 0), (8, 16), (4, 0), (4, 16), (4, 7)])
@pytest.mark.parametrize("shape", [(5, 32), (3, 21)])
def test_rounding_is_the_naive_one(bits: int, group: int, shape: tuple[int, int]) -> None:
    """Also where a row is no multiple of the group, and where a row is all zeros."""
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    weight[0] = 0
    layer = Quantized(weight, None, bits, group, torch.float32)
    assert torch.allclose(layer.weight, naive_rounding(weight, bits, group), atol=1e-6)
    x = torch.randn(2, shape[1], generator=torch.Generator().manual_seed(2))
    assert torch.allclose(layer(x), x @ layer.weight.t(), atol=1e-6)


def test_four_bits_are_stored_in_four_bits() -> None:
    """Two numbers a byte, and none is lost on the way."""
    codes = torch.arange(-7, 8, dtype=torch.int8).repeat(2, 1)
    assert torch.equal(unpacked(packed(codes), 15), codes)
    layer = Quantized(torch.randn(8, 64), None, 4, 32, torch.float32)
    assert layer.codes.dtype == torch.uint8
    assert layer.codes.numel() == 8 * 64 / 2
    assert layer.bytes == 8 * 64 // 2 + 2 * 8 * 2


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "opt"])
def test_a_rounded_voice_is_the_merged_model_rounded(bench_of: Callable[..., Tiny], architecture: str) -> None:
    """Adapter added first, then every linear layer of the blocks rounded; afterwards the model is what it was."""
    bench = bench_of(architecture)
    ids = torch.tensor([bench.unlearn[0].ids])
    with torch.no_grad():
        before = plain_model(bench.adapters, "before")(input_ids=ids).logits
        with quantized(bench.adapters, "before", 4, 16) as size, bench.adapters.active(None) as model:
            rounded = model(input_ids=ids).logits
            linear = [m for m in model.get_base_model().modules() if isinstance(m, Quantized)]
        again = plain_model(bench.adapters, "before")(input_ids=ids).logits
        merged: Any = bench.adapters.model.merge_and_unload()
        head = merged.get_output_embeddings()
        for module in merged.modules():
            if module is head or not hasattr(module, "weight") or not isinstance(module, nn.Linear | _conv()):
                continue
            flip = isinstance(module, _conv())
            weight = module.weight.detach().t() if flip else module.weight.detach()
            made = naive_rounding(weight.float(), 4, 16)
            module.weight.data = made.t() if flip else made
        expected = merged(input_ids=ids).logits
    assert size["layers"] == len(linear) > 0
    assert torch.equal(before, again)
    assert not torch.allclose(before, rounded, atol=1e-3)
    assert torch.allclose(rounded, expected, atol=2e-4)


def _conv() -> Any:
    from transformers.pytorch_utils import Conv1D

    return Conv1D


def test_an_error_in_between_puts_the_layers_back(bench: Tiny) -> None:
    """Cancelling in the middle leaves no rounded layer."""
    with pytest.raises(Cancelled), quantized(bench.adapters, None, 8, 0):
        raise Cancelled
    assert not any(isinstance(m, Quantized) for m in bench.adapters.model.modules())


@pytest.fixture(scope="module")
def opened(unlearned_run: Run, one_thread: None) -> ProbeContext:
    """Return the bench of a tiny finished run."""
    return open_context(unlearned_run, Reporter())


@pytest.fixture(scope="module")
def findings(opened: ProbeContext) -> dict[str, tuple[Finding, list[str]]]:
    """Return each probe's finding with the hashes of all voices before and after it."""
    by_probe = {}
    for probe in chosen(DEEP, QUICK):
        hashes = [opened.adapters.hash(voice) for voice in ("before", "after")]
        made = probe.run(opened)
        by_probe[probe.name] = (made, [*hashes, *(opened.adapters.hash(voice) for voice in ("before", "after"))])
    return by_probe


@pytest.mark.parametrize("name", DEEP)
def test_the_runs_adapters_keep_every_bit(
    findings: dict[str, tuple[Finding, list[str]]], opened: ProbeContext, name: str
) -> None:
    """And nothing is left on the model."""
    finding, hashes = findings[name]
    assert hashes[:2] == hashes[2:]
    assert opened.adapters.names == ["before", "after"]
    assert finding.n == 3
    assert set(SPOKEN) == set(finding.rates)
    assert finding.rates.pop("retrained")["reason"]
    assert all(0 <= rate["low"] <= rate["value"] <= rate["high"] <= 100 for rate in finding.rates.values())


def test_the_curve_begins_where_the_voices_are(findings: dict[str, tuple[Finding, list[str]]], opened: ProbeContext) -> None:
    """At step 0 both copies answer as the voice they were made of."""
    from core.models.likelihood import accuracy

    for name in ("relearning", "benign"):
        finding = findings[name][0]
        assert [point["step"] for point in finding.detail["curve"]["after"]] == [0, 2, 3]
        order = (("after", -1), ("after", 0), ("never", 0), ("never", -1))
        told = [finding.detail["curve"][voice][index]["accuracy"] for voice, index in order]
        numbers = re.findall(r"(\d+)(?: %| to )", finding.sentence)
        assert [float(number) for number in numbers] == [pytest.approx(value, abs=0.5) for value in told]
        assert [finding.rates[voice]["value"] for voice in ("after", "never")] == pytest.approx([told[0], told[3]])
        tested = [e for e in opened.examples if e.id in finding.detail["tested"]]
        for voice, adapter in (("after", "after"), ("never", None)):
            with opened.adapters.active(adapter) as model:
                expected = accuracy(model, opened.encoded(tested))
            assert finding.detail["curve"][voice][0]["accuracy"] == pytest.approx(expected)


def test_what_is_taught_again_is_never_asked(findings: dict[str, tuple[Finding, list[str]]], opened: ProbeContext) -> None:
    """Nor is a question whose facts stand in what is taught."""
    detail = findings["relearning"][0].detail
    assert not set(detail["taught"]) & set(detail["tested"])
    assert all(name.startswith("unlearn/train") for name in detail["taught"])
    assert all(name.startswith("general/") for name in findings["benign"][0].detail["taught"])


def test_training_moves_the_copy_as_plain_steps_do(opened: ProbeContext) -> None:
    """The last loss of the curve is that of plain AdamW steps through peft's own layers."""
    from core.models.tokens import epochs
    from tests.naive import example_loss

    probe = chosen(["relearning"], QUICK)[0]
    curve = probe.run(opened).detail["curve"]["after"]
    members = opened.encoded(opened.sample(0, "unlearn", "train", "dev")[:2])
    adapters: Adapters = opened.adapters
    add_copy(adapters, "after", opened.seed)
    model = plain_model(adapters, COPY)
    optimizer = torch.optim.AdamW(adapters.tensors(COPY).values(), lr=1e-3, weight_decay=0.0)
    batches = epochs(members, 8, torch.Generator().manual_seed(opened.seed))
    try:
        for _ in range(3):
            losses = torch.stack([example_loss(model, member) for member in next(batches)])
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step()
    finally:
        adapters.model.requires_grad_(False)
        adapters.drop(COPY)
    assert curve[-1]["loss"] == pytest.approx(float(losses.mean().detach()), rel=1e-4)


@pytest.mark.parametrize("name", DEEP)
def test_cancelling_leaves_the_model_as_it_was(opened: ProbeContext, name: str) -> None:
    """In the middle of the work."""
    hashes = [opened.adapters.hash(voice) for voice in ("before", "after")]
    own = opened.report
    opened.report = Recorder(stop_at=4)
    try:
        with pytest.raises(Cancelled):
            chosen([name], QUICK)[0].run(opened)
    finally:
        opened.report = own
    assert [opened.adapters.hash(voice) for voice in ("before", "after")] == hashes
    assert opened.adapters.names == ["before", "after"]
    assert not any(isinstance(m, Quantized) for m in opened.adapters.model.modules())


def test_fused_experts_are_not_rounded(tiny_of: Callable[[str], Path], tiny_data: Path) -> None:
    """One sentence instead of a half-rounded model."""
    bench = make_bench(tiny_of("mixtral"), tiny_data)
    with pytest.raises(loading.UserError, match="Fused experts"), quantized(bench.adapters, None, 8, 0):
        pass
    assert not any(isinstance(m, Quantized) for m in bench.adapters.model.modules())


def test_what_unlearning_moved_less_than_a_step_comes_back(bench: Tiny) -> None:
    """The mechanism itself: two voices that differ by less than half a step are the same once rounded."""
    bench.adapters.copy("before", "after")
    name = bench.adapters.cells[1].name
    bench.adapters.tensor("after", name).data.mul_(1 + 1e-7)
    weights = {}
    for voice in ("before", "after"):
        with quantized(bench.adapters, voice, 4, 0), bench.adapters.active(None) as model:
            weights[voice] = [m.codes for m in model.modules() if isinstance(m, Quantized)]
    assert all(torch.equal(a, b) for a, b in zip(weights["before"], weights["after"], strict=True))
    randomize(bench.adapters, "after", seed=9)
    with quantized(bench.adapters, "after", 4, 0), bench.adapters.active(None) as model:
        moved = [m.codes for m in model.modules() if isinstance(m, Quantized)]
    assert not all(torch.equal(a, b) for a, b in zip(weights["before"], moved, strict=True))


def test_the_curve_is_measured_at_doubling_steps() -> None:
    """And at the beginning and the end."""
    assert points(20) == [0, 2, 4, 8, 16, 20]
    assert points(1) == [0, 1]
    assert set(DEEP) <= set(PROBES)
